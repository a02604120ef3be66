// Entry points: `mountPage` for the page of `helmframe view`, and the default export for anywidget.

import { render } from "preact";
import { App, type History } from "./app";
import { listen } from "./keys";
import { formatRoute, parseRoute, type Route, startRoute } from "./route";
import STYLE from "./style.css";
import { HttpTransport, type Transport, type WidgetModel, WidgetTransport } from "./transport";
import type { Opened } from "./types";

interface Mounted {
  history: (start: Route) => History;
  keyTarget: (root: HTMLElement) => EventTarget;
}

async function mount(host: HTMLElement, transport: Transport, options: Mounted): Promise<() => void> {
  const shadow = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  shadow.adoptedStyleSheets = [sheet];
  const root = document.createElement("div");
  shadow.append(root);
  const unwatch = followTheme(host);
  let opened: Opened;
  try {
    opened = await transport.request<Opened>("open");
  } catch (error) {
    root.className = "problem";
    root.setAttribute("role", "alert");
    root.textContent = (error as Error).message;
    return unwatch;
  }
  const keyTarget = options.keyTarget(root);
  const unlisten = listen(keyTarget);
  render(<App transport={transport} opened={opened} history={options.history(startRoute(opened.start))} keyTarget={keyTarget} />, root);
  return () => {
    render(null, root);
    unlisten();
    unwatch();
  };
}

/** Set the theme of the host, light or dark, from the page around it, now and when it changes. */
function followTheme(host: HTMLElement): () => void {
  const media = matchMedia("(prefers-color-scheme: dark)");
  const set = () => {
    host.dataset["theme"] = isDark(host, media.matches) ? "dark" : "light";
  };
  set();
  media.addEventListener("change", set);
  // a notebook may attach the host later
  const sizes = new ResizeObserver(set);
  sizes.observe(host);
  const observer = new MutationObserver(set);
  for (const element of [document.documentElement, document.body]) {
    observer.observe(element, { attributes: true, attributeFilter: ["class", "style", "data-theme", "data-jp-theme-light", "data-jp-theme-name"] });
  }
  return () => {
    media.removeEventListener("change", set);
    sizes.disconnect();
    observer.disconnect();
  };
}

function isDark(host: HTMLElement, preferred: boolean): boolean {
  for (let element = host.parentElement; element !== null; element = element.parentElement) {
    const color = getComputedStyle(element).backgroundColor.match(/[\d.]+/g)?.map(Number) ?? [];
    const [red = 0, green = 0, blue = 0, alpha = 1] = color;
    if (color.length >= 3 && alpha > 0.5) return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
  }
  return preferred;
}

function addressHistory(start: Route): History {
  const route = parseRoute(location.hash) ?? start;
  history.replaceState(null, "", location.pathname + location.search + formatRoute(route));
  return {
    route,
    hasAddress: true,
    go: (next, replace) => {
      const address = location.pathname + location.search + formatRoute(next);
      if (replace) history.replaceState(null, "", address);
      else history.pushState(null, "", address);
    },
    watch: (changed) => {
      const receive = () => changed(parseRoute(location.hash) ?? start);
      addEventListener("popstate", receive);
      addEventListener("hashchange", receive);
      return () => {
        removeEventListener("popstate", receive);
        removeEventListener("hashchange", receive);
      };
    },
  };
}

function memoryHistory(start: Route): History {
  return { route: start, hasAddress: false, go: () => undefined, watch: () => () => undefined };
}

export function mountPage(host: HTMLElement): Promise<() => void> {
  const token = new URLSearchParams(location.search).get("token") ?? "";
  host.dataset["page"] = "";
  return mount(host, new HttpTransport(token), { history: addressHistory, keyTarget: () => document });
}

export default {
  render({ model, el }: { model: WidgetModel; el: HTMLElement }): () => void {
    const host = document.createElement("div");
    // disables the notebook's own shortcuts
    host.setAttribute("data-lm-suppress-shortcuts", "true");
    el.append(host);
    const transport = new WidgetTransport(model);
    // keys that the viewer does not use stay in it too
    host.addEventListener("keydown", (event) => event.stopPropagation());
    const mounted = mount(host, transport, { history: memoryHistory, keyTarget: (root) => root });
    return () => {
      transport.close();
      void mounted.then((unmount) => unmount());
    };
  },
};
