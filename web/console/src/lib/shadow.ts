// Shadow documents: reported and desired side by side, and the smallest change from one to another.
import { parse, pretty, visible } from './text';
import type { Json } from './text';

export type Tree = { [k: string]: Json };

export interface Document {
  state?: { desired?: Tree; reported?: Tree; delta?: Tree };
  metadata?: { desired?: Tree; reported?: Tree };
  version?: number;
  timestamp?: number; // seconds
}

const isTree = (v: Json | undefined): v is Tree => typeof v === 'object' && v !== null && !Array.isArray(v);

export interface Line {
  path: string;
  reported?: Json;
  desired?: Json;
  state: 'same' | 'differs' | 'only-reported' | 'only-desired';
  at?: number; // when reported last changed, seconds
}

/** lines lists every leaf of both sides, those that differ first at each level as they come. */
export function lines(d: Document): Line[] {
  const out: Line[] = [];
  const walk = (path: string, reported: Json | undefined, desired: Json | undefined, meta: Json | undefined) => {
    if ((isTree(reported) || isTree(desired)) && (reported === undefined || isTree(reported)) && (desired === undefined || isTree(desired))) {
      const keys = new Set([...Object.keys(reported ?? {}), ...Object.keys(desired ?? {})]);
      for (const k of [...keys].sort()) walk(path ? path + '.' + k : k, reported?.[k], desired?.[k], isTree(meta) ? meta[k] : undefined);
      if (keys.size || !path) return;
    }
    const state = desired === undefined ? 'only-reported' : reported === undefined ? 'only-desired' : JSON.stringify(reported) === JSON.stringify(desired) ? 'same' : 'differs';
    out.push({ path, reported, desired, state, at: isTree(meta) && typeof meta.timestamp === 'number' ? meta.timestamp : undefined });
  };
  walk('', d.state?.reported ?? {}, d.state?.desired ?? {}, d.metadata?.reported);
  return out;
}

/** change is the patch that turns one tree into another: null removes (AWS IoT developer guide,
 *  "Device Shadow service documents"). */
export function change(from: Tree, to: Tree): Tree {
  const out: Tree = {};
  for (const k of Object.keys(from)) if (!(k in to)) out[k] = null;
  for (const [k, v] of Object.entries(to)) {
    const old = from[k];
    if (isTree(v) && isTree(old)) {
      const inner = change(old, v);
      if (Object.keys(inner).length) out[k] = inner;
    } else if (JSON.stringify(old) !== JSON.stringify(v)) out[k] = v;
  }
  return out;
}

/** readTree reads what somebody typed as the desired state. */
export function readTree(text: string): { tree?: Tree; error?: string; line?: number } {
  const { value, error, line } = parse(text);
  if (error) return { error, line };
  return isTree(value) ? { tree: value } : { error: 'The state is a JSON object, such as {"on": true}.' };
}

export const show = (v: Json | undefined) => (v === undefined ? '' : visible(typeof v === 'string' ? v : pretty(v)));
