// A list that draws only the rows in sight, so that a hundred thousand cost no more than forty.
import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

export interface Column {
  key: string;
  title: ComponentChildren;
  width: string; // of a grid track, such as minmax(160px, 2fr)
  label?: string; // where title is no text
}

export interface ListProps {
  label: string;
  count: number;
  columns: Column[];
  rowHeight?: number;
  /** cells of a row, one a column; undefined while it is being loaded */
  row: (i: number) => ComponentChildren[] | undefined;
  rowKey: (i: number) => string | number;
  rowClass?: (i: number) => string | undefined;
  /** seen is told which rows are in sight, to load them */
  seen?: (from: number, to: number) => void;
  /** follow keeps the end in sight as rows are added, unless somebody has scrolled up */
  follow?: boolean;
  head?: boolean;
}

const overscan = 8;

// Browsers lay out boxes of some ten million pixels; a longer list is scrolled in proportion.
const tallest = 8_000_000;

export function List({ label, count, columns, rowHeight = 44, row, rowKey, rowClass, seen, follow, head = true }: ListProps) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const full = count * rowHeight;
  const scale = full > tallest ? full / tallest : 1;
  const stuck = useRef(true);

  useLayoutEffect(() => {
    const el = box.current!;
    const measure = () => setView((v) => (v.height === el.clientHeight ? v : { ...v, height: el.clientHeight }));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(el);
    return () => observer.disconnect();
  }, []);

  useLayoutEffect(() => {
    const el = box.current!;
    if (follow && stuck.current) el.scrollTop = el.scrollHeight;
  }, [count, follow]);

  const top = view.top * scale;
  const from = Math.max(0, Math.floor(top / rowHeight) - overscan);
  const to = Math.min(count, Math.ceil((top + view.height) / rowHeight) + overscan);
  useEffect(() => seen?.(from, to), [from, to, count]);

  const tracks = columns.map((c) => c.width).join(' ');
  const rows = [];
  for (let i = from; i < to; i++) {
    const cells = row(i);
    rows.push(
      <div key={rowKey(i)} role="row" aria-rowindex={i + (head ? 2 : 1)} class={`row ${rowClass?.(i) ?? ''}`} style={{ gridTemplateColumns: tracks, height: `${rowHeight}px`, transform: `translateY(${i * rowHeight - top + view.top}px)` }}>
        {columns.map((c, n) => <div role="cell" key={c.key} class="cell">{cells ? cells[n] : <span class="placeholder" />}</div>)}
      </div>,
    );
  }
  return (
    <div class="list" role="table" aria-label={label} aria-rowcount={count + (head ? 1 : 0)}>
      {head && (
        <div role="rowgroup" class="list-head">
          <div role="row" aria-rowindex={1} class="row" style={{ gridTemplateColumns: tracks }}>
            {columns.map((c) => <div role="columnheader" key={c.key} class="cell" aria-label={c.label}>{c.title}</div>)}
          </div>
        </div>
      )}
      <div class="list-body" role="rowgroup" ref={box} tabIndex={0} aria-label={label} style={{ maxHeight: `${Math.min(full, tallest) + 1}px` }} onScroll={(e) => {
        const el = e.currentTarget;
        stuck.current = el.scrollTop + el.clientHeight >= el.scrollHeight - rowHeight;
        setView({ top: el.scrollTop, height: el.clientHeight });
      }}>
        <div class="list-space" role="presentation" style={{ height: `${Math.min(full, tallest)}px` }}>{rows}</div>
      </div>
    </div>
  );
}

/** Table is a plain table for short lists. A column without a title holds actions. */
export function Table({ label, columns, rows }: { label: string; columns: ComponentChildren[]; rows: { key: string | number; cells: ComponentChildren[] }[] }) {
  return (
    <div class="table-wrap" tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead><tr>{columns.map((c, i) => <th key={i} scope="col">{c || <span class="visually-hidden">Actions</span>}</th>)}</tr></thead>
        <tbody>{rows.map((r) => <tr key={r.key}>{r.cells.map((c, i) => <td key={i}>{c}</td>)}</tr>)}</tbody>
      </table>
    </div>
  );
}
