// MQTT over the session's WebSocket: a connection that comes back by itself, with its subscriptions.
import { signal } from '@preact/signals';
import * as codec from './codec';
import type { Message, Packet, Properties } from './codec';

export type State = 'off' | 'connecting' | 'connected' | 'waiting';

export interface Granted {
  code: number;
  reason: string;
}

interface Pending {
  resolve: (g: Granted) => void;
  reject: (e: Error) => void;
}

const keepAlive = 60;

export class Connection {
  readonly state = signal<State>('off');
  /** why the connection ended or could not begin, in words */
  readonly problem = signal('');
  readonly clientId: string;
  private ws?: WebSocket;
  private parser = new codec.Parser();
  private filters = new Map<string, 0 | 1>();
  private pending = new Map<number, Pending>();
  private next = 1;
  private tries = 0;
  private timers: { ping?: number; retry?: number; dead?: number } = {};
  private wanted = false;

  constructor(purpose: string, private readonly received: (m: Message) => void) {
    this.clientId = `console-${purpose}-${[...crypto.getRandomValues(new Uint8Array(6))].map((b) => b.toString(16).padStart(2, '0')).join('')}`;
  }

  open(): void {
    this.wanted = true;
    if (this.ws || this.timers.retry) return;
    this.state.value = 'connecting';
    const ws = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/console/api/mqtt`, 'mqtt');
    ws.binaryType = 'arraybuffer';
    this.ws = ws;
    this.parser = new codec.Parser();
    ws.onopen = () => this.send(codec.connect(this.clientId, keepAlive));
    ws.onmessage = (e) => {
      if (this.ws !== ws) return;
      try {
        for (const p of this.parser.push(new Uint8Array(e.data as ArrayBuffer))) this.handle(p);
      } catch (err) {
        this.problem.value = (err as Error).message;
        ws.close();
      }
    };
    ws.onclose = () => this.ws === ws && this.lost();
  }

  close(): void {
    this.wanted = false;
    clearTimeout(this.timers.retry);
    this.timers.retry = undefined;
    if (this.ws) {
      this.send(codec.disconnect());
      this.ws.close();
      this.lost();
    }
    this.state.value = 'off';
  }

  private lost(): void {
    this.ws = undefined;
    clearInterval(this.timers.ping);
    clearTimeout(this.timers.dead);
    for (const p of this.pending.values()) p.reject(new Error('The connection was lost before the server answered.'));
    this.pending.clear();
    if (!this.wanted) return;
    this.state.value = 'waiting';
    const wait = Math.min(30_000, 500 * 2 ** this.tries++) * (0.5 + Math.random() / 2);
    this.timers.retry = setTimeout(() => {
      this.timers.retry = undefined;
      if (this.wanted) this.open();
    }, wait);
  }

  private send(b: Uint8Array<ArrayBuffer>): void {
    if (this.ws?.readyState === WebSocket.OPEN) this.ws.send(b);
  }

  private handle(p: Packet): void {
    switch (p.type) {
      case 'connack':
        if (p.code !== 0) {
          this.problem.value = codec.reason(p.code, p.properties);
          this.ws?.close();
          return;
        }
        this.tries = 0;
        this.problem.value = '';
        this.state.value = 'connected';
        this.timers.ping = setInterval(() => this.ping(), ((p.properties.serverKeepAlive ?? keepAlive) * 1000) / 2);
        for (const [filter, qos] of this.filters) this.request((id) => codec.subscribe(id, filter, qos)).catch(() => {});
        return;
      case 'publish':
        if (p.qos) this.send(codec.puback(p.id));
        this.received(p);
        return;
      case 'ack': {
        const waiting = this.pending.get(p.id);
        this.pending.delete(p.id);
        const code = p.codes[0] ?? 0;
        waiting?.resolve({ code, reason: codec.reason(code, p.properties) });
        return;
      }
      case 'pingresp':
        clearTimeout(this.timers.dead);
        return;
      case 'disconnect':
        this.problem.value = codec.reason(p.code, p.properties);
    }
  }

  private ping(): void {
    this.send(codec.pingreq());
    clearTimeout(this.timers.dead);
    this.timers.dead = setTimeout(() => this.ws?.close(), 10_000);
  }

  private request(make: (id: number) => Uint8Array<ArrayBuffer>): Promise<Granted> {
    if (this.state.value !== 'connected') return Promise.reject(new Error('MQTT is not connected' + (this.problem.value ? ': ' + this.problem.value : '.')));
    do {
      this.next = (this.next % 65535) + 1;
    } while (this.pending.has(this.next));
    const id = this.next;
    return new Promise((resolve, reject) => {
      this.pending.set(id, { resolve, reject });
      this.send(make(id));
    });
  }

  /** subscribe keeps a subscription over reconnects. A code of 0x80 or more is a refusal. */
  async subscribe(filter: string, qos: 0 | 1): Promise<Granted> {
    this.filters.set(filter, qos);
    if (this.state.value !== 'connected') return { code: qos, reason: '' }; // made with the next connection
    const granted = await this.request((id) => codec.subscribe(id, filter, qos));
    if (granted.code >= 0x80) this.filters.delete(filter);
    return granted;
  }

  async unsubscribe(filter: string): Promise<void> {
    this.filters.delete(filter);
    if (this.state.value === 'connected') await this.request((id) => codec.unsubscribe(id, filter));
  }

  async publish(topic: string, payload: Uint8Array, o: { qos?: 0 | 1; retain?: boolean; properties?: Properties } = {}): Promise<Granted> {
    const m: Message = { topic, payload, qos: o.qos ?? 1, retain: o.retain ?? false, properties: o.properties ?? {} };
    if (m.qos) return this.request((id) => codec.publish(m, id));
    if (this.state.value !== 'connected') throw new Error('MQTT is not connected.');
    this.send(codec.publish(m, 0));
    return { code: 0, reason: '' };
  }
}

/** matches reports whether a topic filter matches a topic name. */
export function matches(filter: string, topic: string): boolean {
  if (filter.startsWith('$share/')) filter = filter.split('/').slice(2).join('/');
  const f = filter.split('/');
  const t = topic.split('/');
  if (topic.startsWith('$') && !f[0].startsWith('$')) return false;
  for (let i = 0; i < f.length; i++) {
    if (f[i] === '#') return true;
    if (i >= t.length || (f[i] !== '+' && f[i] !== t[i])) return false;
  }
  return f.length === t.length;
}
