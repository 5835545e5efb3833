// One connection for everything that pages watch.
import { effect } from '@preact/signals';
import { session } from './api';
import { Connection, matches } from './mqtt';
import type { Message } from './codec';

const watchers = new Map<string, Set<(m: Message) => void>>();

const connection = new Connection('live', (m) => {
  for (const [filter, set] of watchers) if (matches(filter, m.topic)) for (const w of set) w(m);
});

export const liveState = connection.state;

/** watch calls w for every message on a filter until the function that it returns is called. */
export function watch(filter: string, w: (m: Message) => void): () => void {
  let set = watchers.get(filter);
  if (!set) {
    watchers.set(filter, (set = new Set()));
    connection.open();
    connection.subscribe(filter, 0).catch(() => {});
  }
  set.add(w);
  return () => {
    set.delete(w);
    if (set.size || watchers.get(filter) !== set) return;
    watchers.delete(filter);
    connection.unsubscribe(filter).catch(() => {});
  };
}

effect(() => {
  if (session.value && !session.value.signedIn) connection.close();
});
