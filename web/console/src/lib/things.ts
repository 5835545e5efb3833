// The list of all things, loaded as far as somebody has scrolled.
import { signal } from '@preact/signals';
import { ApiError, iot } from './api';

export interface Thing {
  thingName: string;
  thingTypeName?: string;
  thingGroupNames?: string[];
  attributes?: Record<string, string>;
  shadow?: string; // JSON
  connectivity?: { connected: boolean; timestamp: number; disconnectReason?: string };
}

/** Row is what is kept of a thing: shadows are large, so only the columns shown. */
export interface Row {
  name: string;
  type?: string;
  groups?: string[];
  connected?: boolean;
  since?: number;
  why?: string;
  extra: string[];
}

/** value reads a field such as attributes.room or shadow.reported.temperature. */
export function value(t: Thing, field: string, shadow: unknown): string {
  let v: unknown = field.startsWith('attributes.') ? t.attributes?.[field.slice(11)] : undefined;
  if (field.startsWith('shadow.')) {
    v = shadow;
    for (const part of field.slice(7).split('.')) v = v && typeof v === 'object' ? (v as Record<string, unknown>)[part] : undefined;
  }
  return v === undefined || v === null ? '' : typeof v === 'object' ? JSON.stringify(v) : String(v);
}

export type Mode = 'index' | 'registry';

/** Things is one search. Rows come in pages in the order of their names. */
export class Things {
  /** rows grow in place; size tells of it. */
  readonly rows: Row[] = [];
  readonly size = signal(0);
  readonly total = signal<number | undefined>(undefined);
  readonly error = signal<unknown>(undefined);
  readonly done = signal(false);
  /** fields that the things loaded so far have */
  readonly fields = new Set<string>();
  private token?: string;
  private wanted = 0;
  private running = false;
  private abort = new AbortController();

  constructor(readonly mode: Mode, readonly query: string, readonly columns: string[]) {
    if (mode === 'index') this.count();
    this.want(200);
  }

  stop(): void {
    this.abort.abort();
  }

  private async count(): Promise<void> {
    try {
      const { statistics } = await iot.post<{ statistics: { count: number } }>('/indices/statistics', { queryString: this.query }, { signal: this.abort.signal });
      this.total.value = statistics?.count ?? 0;
    } catch {
      // the pages tell
    }
  }

  /** want loads until there are n rows. */
  want(n: number): void {
    this.wanted = Math.max(this.wanted, n);
    if (!this.running) void this.run();
  }

  private async run(): Promise<void> {
    this.running = true;
    try {
      while (!this.done.value && this.rows.length < this.wanted && !this.abort.signal.aborted) {
        const page = await this.page();
        if (this.abort.signal.aborted) return;
        this.rows.push(...page);
        this.done.value = !this.token;
        this.size.value = this.rows.length;
      }
      this.error.value = undefined;
    } catch (e) {
      if (!this.abort.signal.aborted) this.error.value = e;
    } finally {
      this.running = false;
    }
  }

  private async page(): Promise<Row[]> {
    const o = { signal: this.abort.signal };
    let things: Thing[];
    if (this.mode === 'index') {
      const p = await iot.post<{ things?: Thing[]; nextToken?: string }>('/indices/search', { queryString: this.query, maxResults: 500, nextToken: this.token }, o);
      things = p.things ?? [];
      this.token = p.nextToken;
    } else {
      const p = await iot.get<{ things: Thing[]; nextToken?: string }>('/things', { maxResults: 250, nextToken: this.token }, o);
      things = p.things;
      this.token = p.nextToken;
    }
    const shadows = this.columns.some((c) => c.startsWith('shadow.'));
    return things.map((t, i) => {
      let shadow: unknown;
      if (t.shadow && (shadows || (i < 20 && this.fields.size < 200))) {
        try {
          shadow = JSON.parse(t.shadow);
        } catch {
          shadow = undefined;
        }
      }
      if (this.fields.size < 200) {
        for (const a of Object.keys(t.attributes ?? {})) this.fields.add('attributes.' + a);
        for (const part of ['reported', 'desired']) {
          const state = (shadow as Record<string, Record<string, unknown>> | undefined)?.[part];
          for (const k of Object.keys(state ?? {})) this.fields.add(`shadow.${part}.${k}`);
        }
      }
      return { name: t.thingName, type: t.thingTypeName, groups: t.thingGroupNames, connected: t.connectivity?.connected, since: t.connectivity?.timestamp,
        why: t.connectivity?.disconnectReason, extra: this.columns.map((c) => value(t, c, shadow)) };
    });
  }
}

/** indexed reports whether things can be searched. */
export async function indexed(): Promise<boolean> {
  const c = await iot.get<{ thingIndexingConfiguration?: { thingIndexingMode?: string } }>('/indexing/config');
  return (c.thingIndexingConfiguration?.thingIndexingMode ?? 'OFF') !== 'OFF';
}

export async function enableIndex(): Promise<void> {
  await iot.post('/indexing/config', {
    thingIndexingConfiguration: { thingIndexingMode: 'REGISTRY_AND_SHADOW', thingConnectivityIndexingMode: 'STATUS' },
    thingGroupIndexingConfiguration: { thingGroupIndexingMode: 'ON' },
  });
}

/** toQuery turns what people type into the index's language: a bare word is the beginning of a name. */
export function toQuery(text: string): string {
  const t = text.trim();
  if (!t) return '*';
  return /^[a-zA-Z0-9_-]+$/.test(t) && !/^(AND|OR|NOT)$/.test(t) ? `thingName:${t}*` : t;
}

/** removeThing takes a thing's certificates off and deletes it. */
export async function removeThing(name: string): Promise<void> {
  await detachAll(name);
  await iot.del(`/things/${encodeURIComponent(name)}`);
}

export async function detachAll(name: string): Promise<number> {
  const at = `/things/${encodeURIComponent(name)}/principals`;
  const { principals } = await iot.get<{ principals: string[] }>(at);
  for (const p of principals) await iot.del(at, undefined, { headers: { 'x-amzn-principal': p } });
  return principals.length;
}

export const gone = (e: unknown) => e instanceof ApiError && e.status === 404;
