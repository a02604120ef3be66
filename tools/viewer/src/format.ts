// Numbers, dates and texts as the viewer shows them.

// control, zero-width and direction characters, which change the display invisibly
export const INVISIBLE = /([\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff])/;

export interface Piece {
  text: string;
  invisible: boolean;
}

/** Split a text into visible pieces, and invisible characters as their code points. */
export function pieces(text: string): Piece[] {
  return text.split(INVISIBLE).filter((piece) => piece !== "").map((piece) => {
    if (!INVISIBLE.test(piece)) return { text: piece, invisible: false };
    const code = (piece.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
    return { text: `\u27e8U+${code}\u27e9`, invisible: true };
  });
}

/** Return a text for an attribute or an option: one line, without invisible characters. */
export function plain(text: string): string {
  return pieces(text.replace(/\s+/g, " ")).map((piece) => piece.text).join("");
}

export const whole = (value: number): string => value.toLocaleString("en");
const minus = (text: string): string => text.replace("-", "\u2212");

export function score(value: number | null | undefined, unit = "fraction"): string {
  if (value === null || value === undefined) return "";
  return minus(unit === "fraction" ? `${(100 * value).toFixed(1)} %` : short(value));
}

export function short(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
  return String(Number(value.toPrecision(3)));
}

export function decimal(value: number | null | undefined): string {
  return value === null || value === undefined ? "" : minus(Number.isInteger(value) ? String(value) : value.toFixed(3));
}

export function interval(low: number | null | undefined, high: number | null | undefined, unit = "fraction"): string {
  if (low === null || low === undefined || high === null || high === undefined) return "";
  const end = (value: number): string => minus(unit === "fraction" ? (100 * value).toFixed(1) : short(value));
  return `[${end(low)}, ${end(high)}]`;
}

export function signed(value: number | null | undefined, unit = "fraction"): string {
  if (value === null || value === undefined) return "";
  const text = unit === "fraction" ? (100 * value).toFixed(1) : short(value);
  return minus(value > 0 ? `+${text}` : text);
}

export function date(seconds: number | null): string {
  if (seconds === null) return "";
  const text = new Date(1000 * seconds).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, 16)}`;
}

export function duration(seconds: number | null): string {
  if (seconds === null) return "";
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

export function dollars(value: number | null): string {
  if (value === null) return "";
  return value === 0 ? "$0" : value < 0.01 ? `$${value.toPrecision(2)}` : `$${value.toFixed(2)}`;
}

export function some(names: string[], most = 3): string {
  const more = names.length - most;
  return names.slice(0, most).map(plain).join(", ") + (more > 0 ? ` +${more}` : "");
}

export interface Variant {
  perturbation?: string | number | null;
  perturbation_seed?: string | number | null;
  setting?: string | number | null;
  trial?: string | number | null;
}

export function variant(row: Variant): string {
  const parts = [row.perturbation, row.perturbation_seed ? `seed ${row.perturbation_seed}` : "", row.setting,
    row.trial ? `trial ${row.trial}` : ""];
  return parts.filter((part) => part !== undefined && part !== null && part !== "").join(", ");
}

const OUTPUT = { output_index: "output", reference_index: "option", request_mode: "request", window_index: "window" };

export function outputLabel(row: object): string {
  const values = row as Record<string, unknown>;
  return Object.entries(OUTPUT)
    .filter(([name]) => values[name] !== null && values[name] !== undefined)
    .map(([name, title]) => `${title} ${String(values[name])}`).join(", ");
}
