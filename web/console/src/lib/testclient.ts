// The test client's connection, subscriptions and messages. They outlive the page, so that messages
// come in while somebody looks elsewhere.
import { effect, signal } from '@preact/signals';
import { session } from './api';
import type { Message } from './codec';
import { Connection, matches } from './mqtt';
import { utf8 } from './text';

export interface Received {
  id: number;
  at: number; // milliseconds since 1970
  sent: boolean;
  message: Message;
  text?: string; // undefined if the payload is not text
  color: number;
}

export interface Subscription {
  filter: string;
  qos: 0 | 1;
  color: number;
  count: number;
  problem?: string;
}

const most = 5000; // messages kept
const mostBytes = 64 << 20;
const colors = 8;

export const messages = signal<Received[]>([]);
export const subscriptions = signal<Subscription[]>([]);
export const paused = signal(false);
export const held = signal(0); // messages that came while paused
export const dropped = signal(0); // old messages that had to go

let nextID = 1;
let size = 0;
let waiting: Received[] = [];
let frame = 0;
let fresh: Received[] = [];

export const connection = new Connection('test', (m) => add(m, false));

function add(message: Message, sent: boolean): void {
  const sub = subscriptions.value.find((s) => matches(s.filter, message.topic));
  const r: Received = { id: nextID++, at: Date.now(), sent, message, text: utf8(message.payload), color: sub?.color ?? -1 };
  if (sub && !sent) sub.count++;
  if (paused.value) {
    waiting.push(r);
    if (waiting.length > most) waiting.shift();
    held.value = waiting.length;
    return;
  }
  fresh.push(r);
  // A flood is drawn once a frame. A tab in the background has no frames, but timers.
  if (!frame) frame = document.hidden ? setTimeout(flush, 250) : requestAnimationFrame(flush);
}

function flush(): void {
  frame = 0;
  const list = messages.value.concat(fresh);
  for (const r of fresh) size += r.message.payload.length;
  fresh = [];
  let drop = Math.max(0, list.length - most);
  for (let i = 0; i < drop; i++) size -= list[i].message.payload.length;
  while (size > mostBytes && drop < list.length - 1) size -= list[drop++].message.payload.length;
  dropped.value += drop;
  messages.value = drop ? list.slice(drop) : list;
  subscriptions.value = [...subscriptions.value];
}

export function resume(): void {
  paused.value = false;
  fresh.push(...waiting);
  waiting = [];
  held.value = 0;
  flush();
}

export function clear(): void {
  messages.value = [];
  waiting = [];
  held.value = 0;
  dropped.value = 0;
  size = 0;
  subscriptions.value = subscriptions.value.map((s) => ({ ...s, count: 0 }));
}

export async function subscribe(filter: string, qos: 0 | 1): Promise<void> {
  if (subscriptions.value.some((s) => s.filter === filter)) throw new Error('You listen to this filter already.');
  const used = new Set(subscriptions.value.map((s) => s.color));
  let color = 0;
  while (used.has(color) && color < colors - 1) color++;
  subscriptions.value = [...subscriptions.value, { filter, qos, color, count: 0 }];
  const remove = () => (subscriptions.value = subscriptions.value.filter((s) => s.filter !== filter));
  try {
    connection.open();
    const g = await connection.subscribe(filter, qos);
    if (g.code >= 0x80) throw new Error(`The server refused the subscription: ${g.reason}.`);
  } catch (e) {
    remove();
    throw e;
  }
}

export async function unsubscribe(filter: string): Promise<void> {
  subscriptions.value = subscriptions.value.filter((s) => s.filter !== filter);
  await connection.unsubscribe(filter);
}

export async function publish(m: Message): Promise<void> {
  const g = await connection.publish(m.topic, m.payload, { qos: m.qos, retain: m.retain, properties: m.properties });
  if (g.code >= 0x80) throw new Error(`The server refused the message: ${g.reason}.`);
  // What nobody here listens to is shown all the same; what comes back anyway is not shown twice.
  if (!subscriptions.value.some((s) => matches(s.filter, m.topic))) add(m, true);
}

effect(() => {
  if (session.value && !session.value.signedIn) {
    connection.close();
    subscriptions.value = [];
    clear();
  }
});
