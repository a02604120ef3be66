// Keyboard shortcuts: single keys, never while a person types.

import { useEffect, useRef } from "preact/hooks";

export type Handler = (event: KeyboardEvent) => boolean; // whether the key was used

interface Entry {
  target: EventTarget;
  handler: Handler;
}

const handlers: Entry[] = [];

/** Handle the keys of a target with the handler of the last rendering, so that no key acts on an earlier state. */
export function useKeys(target: EventTarget, handler: Handler, first = false): void {
  const entry = useRef<Entry>({ target, handler });
  entry.current.handler = handler;
  useEffect(() => {
    if (first) handlers.unshift(entry.current);
    else handlers.push(entry.current);
    return () => {
      handlers.splice(handlers.indexOf(entry.current), 1);
    };
  }, []);
}

/** Pass keys of a target to its handlers, in order, until one uses the key. */
export function listen(target: EventTarget): () => void {
  const receive = (value: Event): void => {
    const event = value as KeyboardEvent;
    const element = event.composedPath()[0];
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (element instanceof HTMLElement && element.matches("input:not([type=checkbox]), select, textarea") && event.key !== "Escape") return;
    for (const { target: own, handler } of [...handlers]) {
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
