// TanStack Table for Preact.

import { createTable, type RowData, type Table, type TableOptions, type TableOptionsResolved, type TableState } from "@tanstack/table-core";
import { useState } from "preact/hooks";

export function useTable<T extends RowData>(options: Omit<TableOptions<T>, "state" | "onStateChange" | "renderFallbackValue">): Table<T> {
  const [table] = useState(() => createTable<T>({
    state: {}, onStateChange: () => undefined, renderFallbackValue: null, ...options,
  } as TableOptionsResolved<T>));
  const [state, setState] = useState<TableState>(() => table.initialState);
  table.setOptions((previous) => ({ ...previous, ...options, state, onStateChange: setState }));
  return table;
}
