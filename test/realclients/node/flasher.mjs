// One run of esptool-js against a chip on a TCP port: argv[2] is the port. It loads its stub, writes
// 40,000 bytes compressed with an MD5 over them, reads them back and erases the chip. It prints what
// the chip calls itself and exits with 1 at the first surprise.
import assert from "node:assert/strict";
import crypto from "node:crypto";
import net from "node:net";
import { ESPLoader, Transport } from "esptool-js";

const socket = net.connect(Number(process.argv[2]), "127.0.0.1");
await new Promise((resolve) => socket.once("connect", resolve));

/** What a browser's SerialPort is to esptool-js; opened again, it takes over the socket. */
const port = {
  getInfo: () => ({}),
  async open() {
    socket.removeAllListeners("data");
    this.readable = new ReadableStream({
      start: (to) => { socket.on("data", (bytes) => to.enqueue(new Uint8Array(bytes))); },
      cancel: () => { socket.removeAllListeners("data"); },
    });
    this.writable = new WritableStream({
      write: (bytes) => new Promise((resolve) => socket.write(bytes, resolve)),
    });
  },
  async close() {},
  async setSignals() {},
};

const silent = { clean() {}, write() {}, writeLine() {} };
const loader = new ESPLoader({ transport: new Transport(port), baudrate: 115200, terminal: silent });
const name = await loader.main("no_reset");
const data = new Uint8Array(crypto.randomBytes(40000));
await loader.writeFlash({
  fileArray: [{ data, address: 0x10000 }],
  flashSize: "keep", flashMode: "keep", flashFreq: "keep", eraseAll: false, compress: true,
  calculateMD5Hash: (image) => crypto.createHash("md5").update(image).digest("hex"),
});
assert.deepEqual(Buffer.from(await loader.readFlash(0x10000, data.length)), Buffer.from(data));
await loader.eraseFlash();
console.log(name);
process.exit(0);
