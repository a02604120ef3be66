// Parts that all pages share. Texts of models and data are text nodes, never markup.

import { type ComponentChildren, createContext } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import { INVISIBLE, pieces, whole } from "./format";
import type { Route } from "./route";
import { formatRoute } from "./route";
import type { Transport } from "./transport";
import type { LongText } from "./types";

export interface Context {
  transport: Transport;
  navigate: (route: Route, replace?: boolean) => void;
  hasAddress: boolean; // whether the route is in the address of the page
  announce: (text: string) => void;
}

export const AppContext = createContext<Context | null>(null);

export function useApp(): Context {
  const context = useContext(AppContext);
  if (context === null) throw new Error("the application has no context");
  return context;
}

export interface Loaded<T> {
  data: T | null;
  error: string | null;
  loading: boolean;
  retry: () => void;
}

/** Request a value; the last value stays until the next one arrives. Responses to earlier requests are dropped. */
export function useRequest<T>(method: string, params: object, enabled = true): Loaded<T> {
  const { transport } = useApp();
  const [state, setState] = useState<{ data: T | null; error: string | null; loading: boolean }>(
    { data: null, error: null, loading: enabled });
  const [attempt, setAttempt] = useState(0);
  const key = JSON.stringify([method, params, enabled, attempt]);
  useEffect(() => {
    if (!enabled) return undefined;
    let current = true;
    setState((previous) => ({ ...previous, loading: true }));
    transport.request<T>(method, params).then(
      (data) => current && setState({ data, error: null, loading: false }),
      (error: Error) => current && setState({ data: null, error: error.message, loading: false }));
    return () => {
      current = false;
    };
  }, [key]);
  return { ...state, retry: () => setAttempt((number) => number + 1) };
}

/** A text in which invisible characters are shown as their code points. */
export function Text({ children }: { children: string | number | null | undefined }) {
  const text = children === null || children === undefined ? "" : String(children);
  if (!INVISIBLE.test(text)) return <>{text}</>;
  return <>{pieces(text).map((piece) => piece.invisible ? <span class="unseen">{piece.text}</span> : piece.text)}</>;
}

export function Block({ text, label }: { text: LongText; label: string }) {
  return (
    <>
      <pre dir="auto" tabIndex={0} role="region" aria-label={label}><Text>{text.text}</Text></pre>
      {text.more > 0 && <p class="note">{whole(text.more)} more characters</p>}
    </>
  );
}

export function Problem({ text, retry }: { text: string; retry?: () => void }) {
  return (
    <p class="problem" role="alert">
      <Text>{text}</Text> {retry && <button type="button" onClick={retry}>Retry</button>}
    </p>
  );
}

export function Loading({ what }: { what: string }) {
  return <p class="note loading">Loading {what}…</p>;
}

export function Section({ title, children, id }: { title: string; children: ComponentChildren; id?: string }) {
  return (
    <section aria-label={title} id={id}>
      <h2>{title}</h2>
      {children}
    </section>
  );
}

export function Wide({ label, children }: { label: string; children: ComponentChildren }) {
  return <div class="wide" role="region" aria-label={label} tabIndex={0}>{children}</div>;
}

/** A link to a page of the viewer: its address in a browser, a button in a notebook. */
export function Link({ to, children, class: name, label }: {
  to: Route; children: ComponentChildren; class?: string; label?: string;
}) {
  const { navigate, hasAddress } = useApp();
  const go = (event: Event) => {
    const mouse = event as MouseEvent;
    if (mouse.ctrlKey || mouse.metaKey || mouse.shiftKey) return;
    event.preventDefault();
    navigate(to);
  };
  if (!hasAddress) return <button type="button" class={`link ${name ?? ""}`} aria-label={label} onClick={go}>{children}</button>;
  return <a href={location.search + formatRoute(to)} class={name} aria-label={label} onClick={go}>{children}</a>;
}

/** A button that copies a text; the text is shown too if the browser doesn't allow copying. */
export function CopyButton({ title, text, shortcut }: {
  title: string; text: string | (() => Promise<string>); shortcut?: string;
}) {
  const { announce } = useApp();
  const [shown, setShown] = useState<string | null>(null);
  const box = useRef<HTMLTextAreaElement>(null);
  useEffect(() => box.current?.select(), [shown]);
  const copy = async () => {
    const value = typeof text === "string" ? text : await text();
    try {
      await navigator.clipboard.writeText(value);
      announce("Copied.");
    } catch {
      announce("The text is selected. Press Ctrl+C to copy it.");
    }
    setShown(value);
  };
  return (
    <span class="copy">
      <button type="button" onClick={copy} data-shortcut={shortcut}>{title}</button>
      {shown !== null && (
        <span class="copied">
          <textarea ref={box} readOnly aria-label={`${title}: text`} value={shown} rows={Math.min(8, shown.split("\n").length)} />
          <button type="button" onClick={() => setShown(null)}>Close</button>
        </span>
      )}
    </span>
  );
}

export function Select({ title, value, options, onChange }: {
  title: string; value: string; options: [string, string][]; onChange: (value: string) => void;
}) {
  return (
    <label>
      <span>{title}</span>
      <select aria-label={title} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {options.map(([name, text]) => <option value={name} key={name}>{text}</option>)}
      </select>
    </label>
  );
}

/** Return a value after it has not changed for some milliseconds. */
export function useDelayed<T>(value: T, delay: number): T {
  const [delayed, setDelayed] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setDelayed(value), delay);
    return () => clearTimeout(timer);
  }, [value, delay]);
  return delayed;
}
