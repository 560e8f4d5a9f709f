// The REST interface of the coordinator. Every error is an ApiError whose message a person can
// act on; a 401 is also announced on `session`, whoever asked.

const BASE = "/api/v1";

/** Fires "signed-out" when a request was refused because nobody is signed in. */
export const session = new EventTarget();

/** What the coordinator answered instead of what was asked for; status 0: it did not answer. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.name = "ApiError";
    this.status = status;
  }
}

async function send(method, path, body, more = {}) {
  const headers = { Accept: "application/json", ...more };
  const isBytes = body instanceof Blob;
  if (body !== undefined) headers["Content-Type"] = isBytes ? "application/octet-stream" : "application/json";
  let response;
  try {
    response = await fetch(BASE + path, {
      method,
      headers,
      body: body === undefined || isBytes ? body : JSON.stringify(body),
      credentials: "same-origin",
    });
  } catch {
    throw new ApiError(0, "The coordinator does not answer. It may be restarting.");
  }
  if (response.ok) return response;
  let detail = `The coordinator answered ${response.status} ${response.statusText}.`;
  try {
    const problem = await response.json();
    if (typeof problem.detail === "string" && problem.detail) detail = problem.detail;
  } catch {
    // No problem+json: a proxy answered. The status line above says all there is to say.
  }
  if (response.status === 401 && path !== "/sign-in") {
    session.dispatchEvent(new Event("signed-out"));
  }
  throw new ApiError(response.status, detail);
}

/** GET as JSON. */
export async function get(path) {
  return (await send("GET", path)).json();
}

/** GET as text. */
export async function getText(path) {
  return (await send("GET", path)).text();
}

/** POST; the answer as JSON, null when it has no body. */
export async function post(path, body) {
  const text = await (await send("POST", path, body)).text();
  return text ? JSON.parse(text) : null;
}

/** POST what must happen once, whatever becomes of the answer: the same `key` is the same thing. */
export async function postOnce(path, body, key) {
  return (await send("POST", path, body, { "Idempotency-Key": key })).json();
}

/** POST bytes (a Blob); the answer as JSON. */
export async function sendBytes(path, blob) {
  return (await send("POST", path, blob)).json();
}

/** PATCH; the answer as JSON. */
export async function patch(path, body) {
  return (await send("PATCH", path, body)).json();
}

/** DELETE. */
export async function remove(path) {
  await send("DELETE", path);
}

/** Path of a job below the interface; the id is data, so it is escaped. */
export function jobPath(id) {
  return `/jobs/${encodeURIComponent(id)}`;
}

/** Path of a frame of a job. */
export function framePath(id, frame) {
  return `${jobPath(id)}/frames/${frame}`;
}

/** Address of a frame's thumbnail; the hash only makes the address new when the picture is. */
export function thumbnailUrl(id, frame, version) {
  return `${BASE}${framePath(id, frame)}/thumbnail?v=${encodeURIComponent(version)}`;
}

/** Address of a frame at full size, as a browser can show it. */
export function previewUrl(id, frame, version) {
  return `${BASE}${framePath(id, frame)}/preview?v=${encodeURIComponent(version)}`;
}

/** Address of the archive of all finished frames, or of those of a range. */
export function archiveUrl(id, frames = "") {
  return `${BASE}${jobPath(id)}/frames.zip${frames ? `?frames=${encodeURIComponent(frames)}` : ""}`;
}

/** Address of the finished film. */
export function filmUrl(id) {
  return `${BASE}${jobPath(id)}/film`;
}

/** Address of a file of a frame. */
export function fileUrl(id, frame, index) {
  return `${BASE}${framePath(id, frame)}/files/${index}`;
}

/** Address of the event stream after an event. */
export function eventsUrl(sequence) {
  return `${BASE}/events?after=${sequence}`;
}
