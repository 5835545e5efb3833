// Control packets of MQTT 5 as far as a client that publishes and subscribes with QoS 0 and 1 needs
// them (OASIS MQTT Version 5.0, sections 2 and 3).

export interface Properties {
  payloadFormat?: number;
  messageExpiry?: number;
  contentType?: string;
  responseTopic?: string;
  correlationData?: Uint8Array;
  userProperties?: [string, string][];
  reason?: string;
  subscriptionIds?: number[];
  topicAlias?: number;
  serverKeepAlive?: number;
  maximumPacketSize?: number;
}

export interface Message {
  topic: string;
  payload: Uint8Array;
  qos: 0 | 1;
  retain: boolean;
  properties: Properties;
}

export type Packet =
  | { type: 'connack'; code: number; properties: Properties }
  | ({ type: 'publish'; id: number } & Message)
  | { type: 'ack'; of: 'puback' | 'suback' | 'unsuback'; id: number; codes: number[]; properties: Properties }
  | { type: 'pingresp' }
  | { type: 'disconnect'; code: number; properties: Properties };

const utf8 = new TextEncoder();
const text = new TextDecoder('utf-8', { fatal: false });

export class Malformed extends Error {}

class Writer {
  b: number[] = [];
  u8(n: number) { this.b.push(n & 255); return this; }
  u16(n: number) { return this.u8(n >> 8).u8(n); }
  u32(n: number) { return this.u16(n >>> 16).u16(n & 0xffff); }
  varint(n: number) {
    do {
      const low = n % 128;
      n = Math.floor(n / 128);
      this.u8(n ? low | 128 : low);
    } while (n);
    return this;
  }
  raw(x: ArrayLike<number>) { for (let i = 0; i < x.length; i++) this.b.push(x[i]); return this; }
  bytes(x: Uint8Array) { return this.u16(x.length).raw(x); }
  str(s: string) { return this.bytes(utf8.encode(s)); }
  props(p: Properties) {
    const w = new Writer();
    if (p.payloadFormat !== undefined) w.u8(1).u8(p.payloadFormat);
    if (p.messageExpiry !== undefined) w.u8(2).u32(p.messageExpiry);
    if (p.contentType) w.u8(3).str(p.contentType);
    if (p.responseTopic) w.u8(8).str(p.responseTopic);
    if (p.correlationData) w.u8(9).bytes(p.correlationData);
    for (const [k, v] of p.userProperties ?? []) w.u8(0x26).str(k).str(v);
    return this.varint(w.b.length).raw(w.b);
  }
}

function packet(first: number, body: Writer, payload?: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = new Writer().u8(first).varint(body.b.length + (payload?.length ?? 0));
  const out = new Uint8Array(head.b.length + body.b.length + (payload?.length ?? 0));
  out.set(head.b);
  out.set(body.b, head.b.length);
  if (payload) out.set(payload, head.b.length + body.b.length);
  return out;
}

export const connect = (clientId: string, keepAlive: number) =>
  packet(0x10, new Writer().str('MQTT').u8(5).u8(2).u16(keepAlive).varint(0).str(clientId));

export const publish = (m: Message, id: number) => {
  const w = new Writer().str(m.topic);
  if (m.qos) w.u16(id);
  return packet(0x30 | (m.qos << 1) | (m.retain ? 1 : 0), w.props(m.properties), m.payload);
};
export const puback = (id: number) => packet(0x40, new Writer().u16(id));
export const subscribe = (id: number, filter: string, qos: number) => packet(0x82, new Writer().u16(id).varint(0).str(filter).u8(qos));
export const unsubscribe = (id: number, filter: string) => packet(0xa2, new Writer().u16(id).varint(0).str(filter));
export const pingreq = () => packet(0xc0, new Writer());
export const disconnect = () => packet(0xe0, new Writer());

class Reader {
  at = 0;
  constructor(readonly b: Uint8Array) {}
  get left() { return this.b.length - this.at; }
  u8() {
    if (this.at >= this.b.length) throw new Malformed('a packet ends too early');
    return this.b[this.at++];
  }
  u16() { return this.u8() * 256 + this.u8(); }
  u32() { return this.u16() * 65536 + this.u16(); }
  varint() {
    let n = 0;
    for (let f = 1, i = 0; i < 4; i++, f *= 128) {
      const c = this.u8();
      n += (c & 127) * f;
      if (c < 128) return n;
    }
    throw new Malformed('a variable byte integer is too long');
  }
  take(n: number) {
    if (n > this.left) throw new Malformed('a packet ends too early');
    return this.b.subarray(this.at, (this.at += n));
  }
  bytes() { return this.take(this.u16()); }
  str() { return text.decode(this.bytes()); }
  props(): Properties {
    const p: Properties = {};
    const r = new Reader(this.take(this.varint()));
    while (r.left) {
      const id = r.u8();
      switch (id) {
        case 0x01: p.payloadFormat = r.u8(); break;
        case 0x02: p.messageExpiry = r.u32(); break;
        case 0x03: p.contentType = r.str(); break;
        case 0x08: p.responseTopic = r.str(); break;
        case 0x09: p.correlationData = r.bytes().slice(); break;
        case 0x0b: (p.subscriptionIds ??= []).push(r.varint()); break;
        case 0x13: p.serverKeepAlive = r.u16(); break;
        case 0x1f: p.reason = r.str(); break;
        case 0x23: p.topicAlias = r.u16(); break;
        case 0x26: (p.userProperties ??= []).push([r.str(), r.str()]); break;
        case 0x27: p.maximumPacketSize = r.u32(); break;
        case 0x17: case 0x19: case 0x24: case 0x25: case 0x28: case 0x29: case 0x2a: r.u8(); break;
        case 0x21: case 0x22: r.u16(); break;
        case 0x11: case 0x18: r.u32(); break;
        case 0x12: case 0x15: case 0x16: case 0x1a: case 0x1c: r.bytes(); break;
        default: throw new Malformed(`property ${id} is unknown`);
      }
    }
    return p;
  }
}

/** Parser takes the bytes of a stream as they come and gives whole packets. */
export class Parser {
  private rest = new Uint8Array(0);

  *push(chunk: Uint8Array): Generator<Packet> {
    let b = chunk;
    if (this.rest.length) {
      b = new Uint8Array(this.rest.length + chunk.length);
      b.set(this.rest);
      b.set(chunk, this.rest.length);
    }
    let at = 0;
    for (;;) {
      let length = 0;
      let i = at + 1;
      let f = 1;
      for (; ; i++, f *= 128) {
        if (i >= b.length) break;
        if (i > at + 4) throw new Malformed('the remaining length is too long');
        length += (b[i] & 127) * f;
        if (b[i] < 128) break;
      }
      if (i >= b.length || i + 1 + length > b.length) break;
      const p = decode(b[at], new Reader(b.subarray(i + 1, i + 1 + length)));
      at = i + 1 + length;
      if (p) yield p;
    }
    this.rest = b.slice(at);
  }
}

function decode(first: number, r: Reader): Packet | undefined {
  switch (first >> 4) {
    case 2: {
      r.u8();
      return { type: 'connack', code: r.u8(), properties: r.left ? r.props() : {} };
    }
    case 3: {
      const topic = r.str();
      const qos = ((first >> 1) & 3) as 0 | 1;
      const id = qos ? r.u16() : 0;
      const properties = r.props();
      return { type: 'publish', id, topic, qos, retain: (first & 1) === 1, properties, payload: r.take(r.left).slice() };
    }
    case 4: {
      const id = r.u16();
      const code = r.left ? r.u8() : 0;
      return { type: 'ack', of: 'puback', id, codes: [code], properties: r.left ? r.props() : {} };
    }
    case 9:
    case 11: {
      const id = r.u16();
      const properties = r.props();
      return { type: 'ack', of: first >> 4 === 9 ? 'suback' : 'unsuback', id, codes: [...r.take(r.left)], properties };
    }
    case 13:
      return { type: 'pingresp' };
    case 14: {
      const code = r.left ? r.u8() : 0;
      return { type: 'disconnect', code, properties: r.left ? r.props() : {} };
    }
  }
  return undefined;
}

const words: Record<number, string> = {
  0x80: 'unspecified error', 0x82: 'protocol error', 0x83: 'refused by the server', 0x85: 'client identifier not valid',
  0x87: 'not authorized', 0x8d: 'no sign of life in time', 0x8e: 'another connection took over', 0x8f: 'topic filter not valid',
  0x90: 'topic name not valid', 0x93: 'too many messages at once', 0x95: 'packet too large', 0x97: 'quota exceeded',
  0x98: 'ended by an administrator', 0x99: 'payload is not what its format says', 0x9a: 'retained messages not supported',
  0x9b: 'QoS not supported', 0xa2: 'wildcards not supported',
};

/** reason is a reason code in words. */
export const reason = (code: number, p?: Properties) => p?.reason || words[code] || `reason code 0x${code.toString(16)}`;
