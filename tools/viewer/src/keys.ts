// Keyboard shortcuts: single keys, never while a person types.

import { useEffect } from "preact/hooks";

export type Handler = (event: KeyboardEvent) => boolean; // whether the key was used

const handlers: { target: EventTarget; handler: Handler }[] = [];

export function useKeys(target: EventTarget, handler: Handler): void {
  useEffect(() => {
    const entry = { target, handler };
    handlers.push(entry);
    return () => {
      handlers.splice(handlers.indexOf(entry), 1);
    };
  });
}

/** Pass keys of a target to its handlers, the newest first. */
export function listen(target: EventTarget): () => void {
  const receive = (value: Event): void => {
    const event = value as KeyboardEvent;
    const element = event.composedPath()[0];
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (element instanceof HTMLElement && element.matches("input:not([type=checkbox]), select, textarea") && event.key !== "Escape") return;
    for (const { target: own, handler } of [...handlers].reverse()) {
      if (own === target && handler(event)) {
        event.preventDefault();
        return;
      }
    }
  };
  target.addEventListener("keydown", receive);
  return () => target.removeEventListener("keydown", receive);
}

export const SHORTCUTS: [string, string][] = [
  ["j, k", "next, previous instance"],
  ["n, p", "next, previous page"],
  ["]  [", "next, previous variant of the instance: perturbations and models"],
  ["/", "search"],
  ["0–9", "label the completion and open the next one"],
  ["x", "remove the label"],
  ["c", "copy as Python"],
  ["Escape", "close the instance"],
  ["s, i, r", "summary, instances, runs"],
  ["?", "this list"],
];
