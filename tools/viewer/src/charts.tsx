// Charts as SVG, with the same numbers in tables beside them. A click selects; the selection is shared by all charts.

import type { RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { interval, plain, score, short } from "./format";
import { Text } from "./ui";

export interface Dot {
  id: string;
  label: string;
  group: string;
  value: number | null;
  low: number | null;
  high: number | null;
  chance?: number | null;
  faded: boolean;
  selected: boolean;
}

const ROW = 22;
const NUMBER = 78; // pixels of the number at the end of a row
const LETTER = 7.2; // pixels of a letter of a label

/** Return the width of an element in pixels, as it changes. */
function useWidth(element: RefObject<HTMLElement | null>, initial: number): number {
  const [width, setWidth] = useState(initial);
  useEffect(() => {
    const current = element.current;
    if (!current) return undefined;
    const observer = new ResizeObserver(() => setWidth(Math.max(240, current.clientWidth)));
    observer.observe(current);
    return () => observer.disconnect();
  }, []);
  return width;
}

/** A chart of values with intervals, one row each, in groups with a common axis. */
export function DotChart({ dots, unit, label, onSelect }: {
  dots: Dot[]; unit: string; label: string; onSelect: (dot: Dot) => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box, 640);
  const several = new Set(dots.map((dot) => dot.group)).size > 1;
  const indent = several ? 14 : 4;
  const longest = indent + LETTER * Math.max(...dots.map((dot) => plain(dot.label).length), 6);
  // labels that leave no room for the values are above them
  const above = longest > 0.5 * width;
  const left = above ? indent : Math.round(longest + 8);
  const letters = Math.floor((above ? width - NUMBER - indent : longest) / LETTER);
  const ends = dots.flatMap((dot) => [dot.value, dot.low, dot.high, dot.chance ?? null]).filter((end) => end !== null);
  const fraction = unit === "fraction";
  if (ends.length === 0) return <div ref={box} />;
  const low = fraction ? 0 : Math.min(0, ...ends);
  const high = fraction ? 1 : Math.max(...ends, low + 1e-9);
  const x = (value: number): number => left + ((value - low) / (high - low)) * (width - left - NUMBER - 14);
  const groups = [...new Set(dots.map((dot) => dot.group))];
  let y = 8;
  const rows = groups.flatMap((group) => {
    const head = several ? [{ kind: "group" as const, group, y: (y += ROW) - 8 }] : [];
    return [...head, ...dots.filter((dot) => dot.group === group).map((dot) => ({ kind: "dot" as const, dot, y: (y += above ? 2 * ROW - 4 : ROW) - 8 }))];
  });
  const height = y + 26;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => low + share * (high - low));
  return (
    <div ref={box}>
      <svg viewBox={`0 0 ${width} ${height}`} width={width} height={height} class="chart" role="group" aria-label={label}>
        {ticks.map((tick) => (
          <g key={tick}>
            <line x1={x(tick)} x2={x(tick)} y1={6} y2={height - 20} class="grid" />
            <text x={x(tick)} y={height - 6} class="tick" text-anchor="middle">{fraction ? Math.round(100 * tick) : short(tick)}</text>
          </g>
        ))}
        {rows.map((row) => row.kind === "group"
          ? <text key={`group ${row.group}`} x={4} y={row.y} class="group">{cut(row.group, 60)}</text>
          : <DotRow key={row.dot.id} dot={row.dot} y={row.y} x={x} unit={unit} indent={indent} above={above} width={width} letters={letters} onSelect={onSelect} />)}
      </svg>
    </div>
  );
}

function DotRow({ dot, y, x, unit, indent, above, width, letters, onSelect }: {
  dot: Dot; y: number; x: (value: number) => number; unit: string; indent: number; above: boolean; width: number; letters: number;
  onSelect: (dot: Dot) => void;
}) {
  const numbers = `${score(dot.value, unit)} ${interval(dot.low, dot.high, unit)}`.trim();
  const choose = () => onSelect(dot);
  const key = (event: KeyboardEvent) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose();
    }
  };
  const names = `${dot.faded ? "faded" : ""} ${dot.selected ? "selected" : ""} row`;
  return (
    <g class={names} role="button" tabIndex={0} aria-pressed={dot.selected} aria-label={plain(`${dot.group} ${dot.label}: ${numbers}`)}
      onClick={choose} onKeyDown={key}>
      <rect x={0} y={y - (above ? 2 * ROW - 7 : 15)} width={width} height={above ? 2 * ROW - 4 : ROW} class="hit" />
      <text x={indent} y={above ? y - ROW + 4 : y}>{cut(dot.label, letters)}</text>
      {dot.low !== null && dot.high !== null && <line x1={x(dot.low)} x2={x(dot.high)} y1={y - 4} y2={y - 4} class="range" />}
      {dot.chance !== null && dot.chance !== undefined &&
        <line x1={x(dot.chance)} x2={x(dot.chance)} y1={y - 11} y2={y + 3} class="chance" />}
      {dot.value !== null && <circle cx={x(dot.value)} cy={y - 4} r={4.5} class="dot" />}
      <text x={width - 4} y={y} text-anchor="end" class="number">{score(dot.value, unit) || "no score"}</text>
    </g>
  );
}

function cut(text: string, most: number): string {
  const line = plain(text);
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}

/** Counts of scores in bins; a click selects the rows of a bin. */
export function Histogram({ bins, unit, onSelect }: {
  bins: { low: number; high: number; n: number }[]; unit: string; onSelect: (low: number, high: number) => void;
}) {
  const most = Math.max(1, ...bins.map((bin) => bin.n));
  return (
    <ul class="histogram" aria-label="rows by score">
      {bins.map((bin) => {
        const range = bin.low === bin.high ? score(bin.low, unit) : `${score(bin.low, unit)} to ${score(bin.high, unit)}`;
        return (
          <li key={bin.low}>
            <button type="button" onClick={() => onSelect(bin.low, bin.high)} title={`${range}: ${bin.n.toLocaleString("en")} rows`}
              aria-label={`score ${range}: ${bin.n.toLocaleString("en")} rows`}>
              <span class="column"><i style={{ height: `${(100 * bin.n) / most}%` }} /></span>
              <span class="tick">{bins.length > 8 ? short(bin.low) : score(bin.low, unit)}</span>
            </button>
          </li>
        );
      })}
    </ul>
  );
}

/** Mean scores as bars; a click selects the rows of a value. */
export function Bars({ bars, low, high, unit, selected, onSelect }: {
  bars: { value: string | null; n: number; mean: number | null; without: number }[];
  low: number; high: number; unit: string; selected: string | null; onSelect: (value: string) => void;
}) {
  const place = (value: number): number => (100 * (value - low)) / (high - low || 1);
  return (
    <ul class="bars">
      {bars.map((bar) => {
        const name = bar.value ?? "";
        const mean = bar.mean ?? 0;
        const without = bar.without > 0 ? `, ${bar.without.toLocaleString("en")} without a score` : "";
        return (
          <li key={name}>
            <button type="button" aria-pressed={selected === name} onClick={() => onSelect(name)}>
              <span class="name"><Text>{name || "(none)"}</Text></span>
              <span class="track"><i style={{ marginLeft: `${place(Math.min(0, mean))}%`, width: `${Math.abs(place(mean) - place(0))}%` }} /></span>
              <span class="value">{score(bar.mean, unit) || "no score"}<small> {bar.n.toLocaleString("en")} rows{without}</small></span>
            </button>
          </li>
        );
      })}
    </ul>
  );
}
