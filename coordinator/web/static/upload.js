// Files from a drop to the coordinator: gathered, hashed in a worker, and sent where they lack.
//
// What is here already is not sent again, so that an upload that broke off goes on where it was
// when the same files are dropped again.

import * as api from "./api.js";

const ASK_MOST = 4096;
const BATCH_BYTES = 8 * 1024 * 1024;
const HEADER_BYTES = 40;
const FILES_MOST = 100000;
const RETRY_FIRST_MS = 500;
const RETRY_MOST_MS = 5000;

/** A problem with what was dropped; the message is for people. */
export class UploadError extends Error {}

/** Files of a drop, folders walked: `[{ path, file }]`. */
export async function gatherDrop(transfer) {
  // Entries must be taken before the first wait: the list is empty afterwards.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const found = [];
  for (const entry of entries) await walk(entry, "", found);
  return tidy(found);
}

/** Files of an input, with their places below the folder that was chosen. */
export function gatherChosen(files) {
  return tidy(files.map((file) => ({ path: file.webkitRelativePath || file.name, file })));
}

async function walk(entry, folder, found) {
  const path = folder ? `${folder}/${entry.name}` : entry.name;
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject)).catch(() => {
      throw new UploadError(`${path} cannot be read; it may be a link to nowhere.`);
    });
    found.push({ path, file });
  } else if (entry.isDirectory) {
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) break;
      for (const child of some) await walk(child, path, found);
    }
  }
  if (found.length > FILES_MOST) throw new UploadError(`A scene has at most ${FILES_MOST.toLocaleString("en-GB")} files.`);
}

// One folder that holds everything is the scene's own; its name says nothing. Files that systems
// leave in every folder stay out.
function tidy(found) {
  const junk = /(^|\/)(\.DS_Store|Thumbs\.db|desktop\.ini)$/;
  const files = found.filter((one) => !junk.test(one.path)).map((one) => ({ ...one, path: one.path.normalize("NFC") }));
  if (files.length === 0) throw new UploadError("There is no file in what was dropped.");
  const top = files[0].path.split("/")[0];
  if (files.every((one) => one.path.startsWith(`${top}/`))) {
    for (const one of files) one.path = one.path.slice(top.length + 1);
  }
  return files;
}

/** The .blend files among some, those nearest to the top first; not the backups Blender keeps. */
export function blends(files) {
  return files
    .filter((one) => /\.blend$/i.test(one.path))
    .sort((a, b) => a.path.split("/").length - b.path.split("/").length || a.path.localeCompare(b.path))
    .map((one) => one.path);
}

/**
 * One upload; `onProgress({ stage, done, total })` with the stages "hashing", "sending" and, while
 * the coordinator does not answer, "waiting".
 */
export class Upload {
  constructor(files, onProgress) {
    this.files = files;
    this.onProgress = onProgress;
    this.isStopped = false;
    this.worker = null;
    this.progress = { stage: "hashing", done: 0, total: 0 };
  }

  tell(progress) {
    this.progress = progress;
    this.onProgress(progress);
  }

  stop() {
    this.isStopped = true;
    this.worker?.terminate();
  }

  /** Hash and send; returns the list for the draft. Throws ApiError and UploadError. */
  async run() {
    if (!globalThis.crypto?.subtle) {
      throw new UploadError("This page was opened over an insecure address; open it over https, or on the coordinator's machine.");
    }
    const listed = await this.hash();
    await this.send(listed);
    return listed.map(({ path, chunks }) => ({ path, chunks }));
  }

  async hash() {
    const total = this.files.reduce((sum, one) => sum + one.file.size, 0);
    let done = 0;
    const worker = new Worker("/static/hasher.js");
    this.worker = worker;
    try {
      return await new Promise((resolve, reject) => {
        const listed = [];
        const next = () => {
          if (listed.length === this.files.length) resolve(listed);
          else worker.postMessage({ id: listed.length, file: this.files[listed.length].file });
        };
        worker.onerror = () => reject(new UploadError("The files could not be read in this browser."));
        worker.onmessage = ({ data }) => {
          if (data.problem) reject(new UploadError(data.problem));
          else if (data.hashed !== undefined) {
            done += data.hashed;
            this.tell({ stage: "hashing", done, total });
          } else {
            listed.push({ ...this.files[data.id], chunks: data.chunks });
            next();
          }
        };
        this.tell({ stage: "hashing", done, total });
        next();
      });
    } finally {
      worker.terminate();
      this.worker = null;
    }
  }

  async send(listed) {
    const places = new Map();
    for (const { file, chunks } of listed) {
      let offset = 0;
      for (const [name, length] of chunks) {
        if (!places.has(name)) places.set(name, { file, offset, length });
        offset += length;
      }
    }
    const names = [...places.keys()];
    const lacking = [];
    for (let at = 0; at < names.length; at += ASK_MOST) {
      const some = names.slice(at, at + ASK_MOST);
      const { missing } = await this.persist(() => api.post("/blobs/missing", { blobs: some }));
      lacking.push(...missing);
    }
    const total = names.reduce((sum, name) => sum + places.get(name).length, 0);
    let done = total - lacking.reduce((sum, name) => sum + places.get(name).length, 0);
    this.tell({ stage: "sending", done, total });
    let batch = [];
    let size = 0;
    for (const [index, name] of lacking.entries()) {
      batch.push(name);
      size += places.get(name).length;
      if (size < BATCH_BYTES && index + 1 < lacking.length) continue;
      await this.sendBatch(batch.map((one) => [one, places.get(one)]));
      done += size;
      this.tell({ stage: "sending", done, total });
      batch = [];
      size = 0;
    }
  }

  async sendBatch(records) {
    const parts = [];
    for (const [name, { file, offset, length }] of records) {
      const header = new DataView(new ArrayBuffer(HEADER_BYTES));
      for (let at = 0; at < 32; at += 1) header.setUint8(at, parseInt(name.slice(2 * at, 2 * at + 2), 16));
      header.setUint32(32, length);
      header.setUint32(36, length);
      parts.push(header.buffer, file.slice(offset, offset + length));
    }
    const body = new Blob(parts);
    await this.persist(() => api.sendBytes("/blobs", body));
  }

  /**
   * Ask until the coordinator answers, for what may happen twice: it may be restarting, and whoever
   * waits can stop it. Throws ApiError when it refuses, UploadError once stopped.
   */
  async persist(ask) {
    for (let wait = RETRY_FIRST_MS; ; wait = Math.min(2 * wait, RETRY_MOST_MS)) {
      if (this.isStopped) throw new UploadError("The upload was stopped.");
      try {
        return await ask();
      } catch (error) {
        // 0: no answer. Anything else will not mend by asking again.
        if (error.status !== 0) throw error;
        this.onProgress({ ...this.progress, stage: "waiting" });
      }
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}
