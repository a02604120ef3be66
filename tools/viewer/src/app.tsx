// The application: pages by route, the header, help, and keyboard shortcuts.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ComparePage } from "./compare";
import { InstancesPage } from "./instances";
import { SHORTCUTS, useKeys } from "./keys";
import { instances, type Route } from "./route";
import { RunsPage } from "./runs";
import { SummaryPage } from "./summary";
import type { Transport } from "./transport";
import type { Opened } from "./types";
import { AppContext, type Context, Link, Text } from "./ui";

export interface History {
  route: Route;
  hasAddress: boolean;
  go: (route: Route, replace: boolean) => void;
  watch: (changed: (route: Route) => void) => () => void;
}

export function App({ transport, history, opened, keyTarget }: {
  transport: Transport; history: History; opened: Opened; keyTarget: EventTarget;
}) {
  const [route, setRoute] = useState(history.route);
  const [message, setMessage] = useState("");
  const [help, setHelp] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const heading = useRef<HTMLElement>(null);
  useEffect(() => history.watch(setRoute), []);
  const context = useMemo<Context>(() => ({
    transport, hasAddress: history.hasAddress, announce: setMessage,
    navigate: (next, replace = false) => {
      history.go(next, replace);
      setRoute(next);
    },
  }), [transport, history]);
  const page = route.view === "runs" || route.view === "compare" ? route.view : `${route.view} ${route.run}`;
  const first = useRef(true);
  useEffect(() => {
    if (!first.current) heading.current?.focus();
    first.current = false;
  }, [page]);
  useKeys(keyTarget, (event) => {
    const run = "run" in route ? route.run : null;
    if (event.key === "?") setHelp(!help);
    else if (event.key === "Escape" && help) setHelp(false);
    else if (event.key === "/") root.current?.querySelector<HTMLInputElement>("input[data-search]")?.focus();
    else if (event.key === "Escape" && root.current?.getRootNode() instanceof ShadowRoot) {
      const focused = (root.current.getRootNode() as ShadowRoot).activeElement;
      if (!(focused instanceof HTMLInputElement)) return false;
      focused.blur();
    } else if (event.key === "c") {
      const buttons = [...(root.current?.querySelectorAll<HTMLButtonElement>("button[data-shortcut=c]") ?? [])];
      buttons[buttons.length - 1]?.click();
    } else if (event.key === "s" && run !== null) context.navigate({ view: "summary", run });
    else if (event.key === "i" && run !== null) context.navigate(instances(run));
    else if (event.key === "r" && opened.n_runs > 1) context.navigate({ view: "runs" });
    else return false;
    return true;
  }, true);
  return (
    <AppContext.Provider value={context}>
      <div class="app" ref={root}>
        <header ref={heading} tabIndex={-1}>
          <nav aria-label="viewer">
            {opened.n_runs > 1 || route.view === "runs" ? <Link to={{ view: "runs" }} class="brand">helmframe</Link> : <span class="brand">helmframe</span>}
            {"run" in route && <h1 class="crumb"><Text>{route.run}</Text></h1>}
            {"run" in route && (
              <span class="tabs">
                <Link to={{ view: "summary", run: route.run }} class={route.view === "summary" ? "tab current" : "tab"}>Summary</Link>
                <Link to={instances(route.run)} class={route.view === "instances" ? "tab current" : "tab"}>Instances</Link>
              </span>
            )}
          </nav>
          <button type="button" aria-expanded={help} onClick={() => setHelp(!help)} title="keyboard shortcuts (?)">Keys</button>
        </header>
        {help && (
          <div class="help" role="region" aria-label="keyboard shortcuts">
            <table><tbody>{SHORTCUTS.map(([keys, meaning]) => <tr key={keys}><th scope="row"><kbd>{keys}</kbd></th><td>{meaning}</td></tr>)}</tbody></table>
          </div>
        )}
        <p role="status" class="spoken">{message}</p>
        <div class="page">
          {route.view === "runs" && <RunsPage canReload={opened.can_reload} />}
          {route.view === "compare" && <ComparePage runs={route.runs} key={route.runs.join("\n")} />}
          {route.view === "summary" && <SummaryPage run={route.run} key={route.run} />}
          {route.view === "instances" && <InstancesPage route={route} keyTarget={keyTarget} key={route.run} />}
        </div>
      </div>
    </AppContext.Provider>
  );
}
