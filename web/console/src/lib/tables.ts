// Tables of readings: what they hold, and series to plot.
import { berth, seg } from './api';
import type { Json } from './text';

export interface TableSummary { name: string; createdAt: number; rows: number; bytes: number; things: number; measures: number; first?: number; last?: number; retentionSeconds: number; maxBytes: number }

export interface Measure { name: string; kinds: string[]; count: number; first: number; last: number }

export interface TableDescription extends TableSummary { measureInfo: Measure[] }

export interface Latest { thing: string; measure: string; time: number; value: Json }

export interface Row { time: number; thing: string; id?: string; measures: Record<string, Json> }

interface Sample { time: number; thing: string; measures: Record<string, Partial<Record<Aggregate, number>>> }

export type Aggregate = 'avg' | 'min' | 'max' | 'sum' | 'count' | 'first' | 'last';

export const at = (table: string, rest = '') => `/tables/${seg(table)}${rest}`;

/** query writes parameters of which some come several times. */
export function query(p: Record<string, string | number | string[] | undefined>): string {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(p)) for (const x of Array.isArray(v) ? v : v === undefined || v === '' ? [] : [v]) q.append(k, String(x));
  return '?' + q.toString();
}

export interface Range { from: number; to: number } // milliseconds; to is not included

const steps = [1, 5, 10, 30, 60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 7 * 86_400, 30 * 86_400];

/** interval is how wide samples are, in seconds, so that a line has at most some hundred points. */
export const interval = (r: Range, points = 500) => steps.find((s) => (r.to - r.from) / 1000 / s <= points) ?? steps[steps.length - 1];

export interface Series { thing: string; measure: string; values: Map<number, number> } // by seconds

const mostPages = 40;

/** series reads samples that the server makes, one line for each thing and measure. */
export async function series(table: string, things: string[], measures: string[], range: Range, aggregate: Aggregate, signal?: AbortSignal): Promise<{ series: Series[]; every: number; cut: boolean }> {
  const every = interval(range, Math.max(120, Math.floor(2000 / Math.max(1, things.length))));
  const found = new Map<string, Series>();
  let token: string | undefined;
  let pages = 0;
  do {
    const p = await berth.get<{ samples?: Sample[]; nextToken?: string }>(at(table, '/rows') + query({ thing: things, measure: measures, from: Math.round(range.from), to: Math.round(range.to), every: every + 's', aggregate, limit: 10_000, token }), undefined, { signal });
    for (const s of p.samples ?? []) {
      for (const [measure, v] of Object.entries(s.measures)) {
        const n = v[aggregate];
        if (typeof n !== 'number') continue;
        const key = JSON.stringify([s.thing, measure]);
        let line = found.get(key);
        if (!line) found.set(key, (line = { thing: s.thing, measure, values: new Map() }));
        line.values.set(s.time / 1000, n);
      }
    }
    token = p.nextToken;
  } while (token && ++pages < mostPages);
  const list = [...found.values()].sort((a, b) => (a.measure + a.thing).localeCompare(b.measure + b.thing));
  return { series: list, every, cut: !!token };
}

export const shown = (v: Json): string => (typeof v === 'number' ? String(Number(v.toPrecision(6))) : typeof v === 'string' ? v : JSON.stringify(v));

/** span is a length of time in words. */
export function span(seconds: number): string {
  const f = (n: number, unit: string) => `${n} ${unit}${n === 1 ? '' : 's'}`;
  return seconds % 86_400 === 0 ? f(seconds / 86_400, 'day') : seconds % 3600 === 0 ? f(seconds / 3600, 'hour') : seconds % 60 === 0 ? f(seconds / 60, 'minute') : f(seconds, 'second');
}
