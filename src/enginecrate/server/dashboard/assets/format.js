/** Numbers and colours for people. */

const COUNT = new Intl.NumberFormat("en");

export const count = (value) => COUNT.format(value);

/** Milliseconds with three significant digits: 0.42 ms, 24.1 ms, 310 ms. */
export function milliseconds(value) {
  if (value == null || !Number.isFinite(value)) return "–";
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  return `${value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2)} ms`;
}

/** Seconds as the two largest units: 42 s, 3 min 5 s, 4 h 12 min, 9 d 3 h. */
export function duration(seconds) {
  if (seconds == null) return "–";
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function bytes(value) {
  if (value < 1000) return `${value} B`;
  if (value < 1_000_000) return `${(value / 1000).toFixed(0)} kB`;
  return `${(value / 1_000_000).toFixed(1)} MB`;
}

export const percent = (value) => `${(value * 100).toFixed(value >= 0.0995 ? 0 : 1)} %`;

/** A hue for a class, as in the server's own pictures: neighbouring numbers are far apart. */
export const hue = (classId) => ((198 + classId * 222.492) % 360).toFixed(1);

/** Quote one word for a POSIX shell. */
export function shellQuote(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
