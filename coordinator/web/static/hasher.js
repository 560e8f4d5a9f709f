// A worker that hashes: SHA-256 of a file's chunks, away from the page so that it stays quick.

const CHUNK_BYTES = 1024 * 1024;

onmessage = async (message) => {
  const { id, file } = message.data;
  try {
    const chunks = [];
    for (let at = 0; at < file.size; at += CHUNK_BYTES) {
      const bytes = await file.slice(at, at + CHUNK_BYTES).arrayBuffer();
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
      chunks.push([[...digest].map((byte) => byte.toString(16).padStart(2, "0")).join(""), bytes.byteLength]);
      postMessage({ id, hashed: bytes.byteLength });
    }
    postMessage({ id, chunks });
  } catch {
    postMessage({ id, problem: `${file.name} could not be read; it may have been moved or changed. Drop it again.` });
  }
};
