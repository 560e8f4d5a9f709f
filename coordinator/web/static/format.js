// Numbers as people read them.

/** A duration in seconds: "0.4 s", "12 s", "3 min 20 s", "2 h 05 min", "3 d 4 h". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 10) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** From one time to another, no finer than an estimate is: "40 – 55 s", "10 – 15 min". */
function range(low, high) {
  const [unit, word] = high < 90 ? [1, "s"] : high < 5400 ? [60, "min"] : [0, ""];
  if (unit === 0) return `${duration(low)} – ${duration(high)}`;
  const [from, to] = [Math.round(low / unit), Math.round(high / unit)];
  return from === to ? `about ${to} ${word}` : `${from} – ${to} ${word}`;
}

/** What is left of a job: "10 – 15 min left, done around 16:40"; "" when it is not known. */
export function timeLeft(job) {
  if (job.eta_seconds === null) return "";
  const { eta_seconds: eta, eta_low_seconds: low, eta_high_seconds: high } = job;
  const left = range(low ?? eta, high ?? eta);
  const end = moment(Date.now() / 1000 + job.eta_seconds);
  return `${left} left, done around ${end}`;
}

/** A size in bytes with binary units: "512 B", "1.4 MiB". */
export function bytes(count) {
  if (count < 1024) return `${count} B`;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = count;
  let unit = -1;
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** "1 frame", "2 frames"; the number with its thousands apart. */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en-GB")} ${number === 1 ? one : many}`;
}

/** A part of one as a percentage that reads 0 or 100 only when it is. */
export function percent(part) {
  if (part <= 0) return "0 %";
  if (part >= 1) return "100 %";
  return `${Math.min(99, Math.max(1, Math.round(part * 100)))} %`;
}

const TODAY = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const EARLIER = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});

/** Seconds since 1970 as local time; with the day when it is not today. */
export function moment(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const date = new Date(seconds * 1000);
  const isToday = date.toDateString() === new Date().toDateString();
  return (isToday ? TODAY : EARLIER).format(date);
}

const CLOCKS = {
  seconds: new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" }),
  minutes: TODAY,
  days: new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" }),
};

/** Seconds since 1970 as local time, as fine as steps of so many seconds need. */
export function clock(seconds, step) {
  const format = step < 60 ? CLOCKS.seconds : step < 86400 ? CLOCKS.minutes : CLOCKS.days;
  return format.format(new Date(seconds * 1000));
}

/** A Blender version, `[4, 5, 15]`. */
export function version(parts) {
  return parts.join(".");
}
