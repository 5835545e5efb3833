// Web Serial for browsers without a USB port: every port of the page is the serial line of a virtual
// chip, with DTR, RTS and the baud rate (RFC 2217).
import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { options } from './harness.mjs';

const IAC = 255, SB = 250, SE = 240, WILL = 251, COM = 44, SET_BAUD = 1, SET_CONTROL = 5;

/** board starts a virtual chip that runs what is in its flash. */
export async function board({ mac, endpoint, more = [] }) {
  const child = spawn(options.berth, ['virtual-esp32', '-o', 'json', '--listen', '127.0.0.1:0', '--rfc2217', '--run', '--mac', mac, '--endpoint', endpoint, ...more], { stdio: ['ignore', 'pipe', 'inherit'] });
  process.on('exit', () => child.kill());
  const lines = createInterface({ input: child.stdout });
  const events = [];
  const port = await new Promise((ready, fail) => {
    child.on('exit', (code) => fail(new Error(`the virtual chip ended with ${code}`)));
    lines.on('line', (l) => {
      const e = JSON.parse(l);
      events.push(e);
      if (e.event === 'ready') ready(Number(e.port.split(':').pop()));
    });
  });
  return { port, events };
}

/** line is the host's end of a chip's line. */
function line(port, received) {
  const socket = connect(port, '127.0.0.1');
  socket.setNoDelay(true);
  const escape = (bytes) => Buffer.from([...bytes].flatMap((b) => (b === IAC ? [IAC, IAC] : [b])));
  const option = (command, ...value) => socket.write(Buffer.concat([Buffer.from([IAC, SB, COM, command]), escape(value), Buffer.from([IAC, SE])]));
  let state = 'data';
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    const out = [];
    for (const b of chunk) {
      if (state === 'data') b === IAC ? (state = 'command') : out.push(b);
      else if (state === 'command') {
        if (b === IAC) out.push(b);
        state = b === SB ? 'option' : b >= WILL && b < IAC ? 'verb' : 'data';
      } else if (state === 'verb') state = 'data';
      else if (state === 'option') state = b === IAC ? 'end' : 'option';
      else state = b === SE ? 'data' : 'option';
    }
    if (out.length) received(Buffer.from(out));
  });
  return {
    write: (b) => socket.write(escape(b)),
    baud: (rate) => option(SET_BAUD, rate >>> 24, (rate >> 16) & 255, (rate >> 8) & 255, rate & 255),
    signals: (s) => {
      if (s.dataTerminalReady !== undefined) option(SET_CONTROL, s.dataTerminalReady ? 8 : 9);
      if (s.requestToSend !== undefined) option(SET_CONTROL, s.requestToSend ? 11 : 12);
    },
  };
}

/** serial gives a page the ports of boards, in the order in which they are asked for; null is one that cannot be opened. */
export const serial = (boards) => async (page) => {
  let last = Promise.resolve();
  const lines = boards.map((b, i) => b && line(b.port, (bytes) => {
    last = last.then(() => page.evaluate(([n, s]) => globalThis.serialCame(n, s), [i, bytes.toString('base64')])).catch(() => {});
  }));
  await page.exposeFunction('serialWrite', (i, s) => void lines[i].write(Buffer.from(s, 'base64')));
  await page.exposeFunction('serialBaud', (i, rate) => void lines[i].baud(rate));
  await page.exposeFunction('serialSignals', (i, s) => lines[i].signals(s));
  await page.addInitScript((broken) => {
    class Port extends EventTarget {
      readable = null;
      writable = null;
      constructor(i) { super(); this.i = i; }
      getInfo() { return { usbVendorId: 0x10c4, usbProductId: 0xea60 }; }
      async open({ baudRate }) {
        if (broken[this.i]) throw new DOMException('Failed to open serial port.', 'NetworkError');
        if (this.readable) throw new DOMException('The port is already open.', 'InvalidStateError');
        await globalThis.serialBaud(this.i, baudRate);
        this.readable = new ReadableStream({ start: (c) => { this.came = (b) => c.enqueue(b); }, cancel: () => { this.came = undefined; } });
        this.writable = new WritableStream({ write: (b) => globalThis.serialWrite(this.i, btoa(Array.from(b, (x) => String.fromCharCode(x)).join(''))) });
      }
      async close() { this.readable = this.writable = null; this.came = undefined; }
      setSignals(s) { return globalThis.serialSignals(this.i, s); }
    }
    const ports = broken.map((_, i) => new Port(i));
    let next = 0;
    globalThis.serialCame = (i, s) => ports[i].came?.(Uint8Array.from(atob(s), (c) => c.charCodeAt(0)));
    const api = Object.assign(new EventTarget(), { getPorts: async () => [], requestPort: async () => ports[next++] });
    Object.defineProperty(navigator, 'serial', { value: api, configurable: true });
  }, boards.map((b) => !b));
};
