// Partition tables as they lie in flash (ESP-IDF programming guide, "Partition Tables").
import { md5 } from './md5';

export const tableOffset = 0x8000;
export const tableLength = 0xc00;

export interface Partition { name: string; type: number; subtype: number; offset: number; size: number; encrypted: boolean }

const dataType = 1;
const subtypes = { nvs: 0x02, spiffs: 0x82 };

export type Format = keyof typeof subtypes;

/** parseTable reads a table and checks its MD5. It is empty where there is none. */
export function parseTable(b: Uint8Array): Partition[] {
  const view = new DataView(b.buffer, b.byteOffset, b.byteLength);
  const out: Partition[] = [];
  for (let at = 0; at + 32 <= b.length; at += 32) {
    const mark = view.getUint16(at, true);
    if (mark === 0xebeb) {
      if (md5(b.subarray(0, at)) !== [...b.subarray(at + 16, at + 32)].map((v) => v.toString(16).padStart(2, '0')).join('')) throw new Error('The partition table is damaged: its checksum does not fit. Write it again with the firmware.');
      continue;
    }
    if (mark !== 0x50aa) break;
    const name = new TextDecoder().decode(b.subarray(at + 12, at + 28)).replace(/\0.*$/s, '');
    out.push({ name, type: b[at + 2], subtype: b[at + 3], offset: view.getUint32(at + 4, true), size: view.getUint32(at + 8, true), encrypted: (view.getUint32(at + 28, true) & 1) === 1 });
  }
  return out;
}

/** fits returns the partitions that can hold an identity in a format. */
export const fits = (table: Partition[], format: Format) => table.filter((p) => p.type === dataType && p.subtype === subtypes[format]);

export const hex = (n: number) => '0x' + n.toString(16);
