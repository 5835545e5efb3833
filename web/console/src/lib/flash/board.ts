// A board on a serial port of this computer, through Web Serial and Espressif's loader.
import { ESPLoader, Transport } from 'esptool-js';
import { md5 } from './md5';
import { parseTable, tableLength, tableOffset } from './partitions';
import type { Partition } from './partitions';

export interface Part { name: string; address: number; data: Uint8Array }

export interface Identified { chip: string; mac: string; flashSize: string; table: Partition[] }

const rescueBaud = 115200;
const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** Board is a connection to the loader of a chip; close it in any case. */
export class Board {
  private constructor(
    private readonly transport: Transport,
    private readonly loader: ESPLoader,
    readonly chip: string,
  ) {}

  /** connect resets the board into its loader and starts the flasher in its memory. */
  static async connect(port: unknown, baud: number, tell: (line: string) => void): Promise<Board> {
    const transport = new Transport(port as never, false);
    const loader = new ESPLoader({ transport, baudrate: baud, romBaudrate: rescueBaud, terminal: { clean() {}, write: tell, writeLine: tell } });
    try {
      const chip = await loader.main();
      return new Board(transport, loader, chip);
    } catch (e) {
      await transport.disconnect().catch(() => {});
      throw e;
    }
  }

  async identify(): Promise<Identified> {
    if (this.loader.secureDownloadMode) throw new Error('The chip is in secure download mode, in which a browser cannot tell its MAC address. Use berth station.');
    const mac = (await this.loader.chip.readMac(this.loader)).toLowerCase();
    const flashSize = (await this.loader.detectFlashSize()) ?? '';
    return { chip: this.chip, mac, flashSize, table: parseTable(await this.loader.readFlash(tableOffset, tableLength)) };
  }

  /** write writes parts whose MD5 in flash is another, and verifies each. It returns how many were written. */
  async write(parts: Part[], progress: (part: Part, done: number) => void): Promise<number> {
    let written = 0;
    for (const part of parts) {
      const sum = md5(part.data);
      progress(part, 0);
      if ((await this.sum(part)) !== sum) {
        written++;
        const data = new Uint8Array(Math.ceil(part.data.length / 4) * 4).fill(0xff);
        data.set(part.data);
        await this.loader.writeFlash({
          fileArray: [{ data, address: part.address }], flashMode: 'keep', flashFreq: 'keep', flashSize: 'keep', eraseAll: false, compress: true,
          reportProgress: (_, done, total) => progress(part, done / total),
        });
        if ((await this.sum(part)) !== sum) throw new VerifyError(part);
      }
      progress(part, 1);
    }
    return written;
  }

  private sum(part: Part): Promise<string> {
    return this.loader.flashMd5sum(part.address, part.data.length);
  }

  /** close resets the board into its application and gives the port back. */
  async close(): Promise<void> {
    try {
      await this.transport.setDTR(false);
      await this.transport.setRTS(true);
      await sleep(100);
      await this.transport.setRTS(false);
    } finally {
      await this.transport.disconnect();
    }
  }
}

export class VerifyError extends Error {
  constructor(part: Part) {
    super(`${part.name}: what is in flash is not what was written.`);
  }
}
