// Files that the browser makes: downloads and ZIP archives.

export function download(name: string, content: Uint8Array | string, kind = 'application/octet-stream'): void {
  const url = URL.createObjectURL(new Blob([content as BlobPart], { type: kind }));
  const a = document.createElement('a');
  a.href = url;
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

const table = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

export function crc32(b: Uint8Array): number {
  let c = 0xffffffff;
  for (const x of b) c = table[(c ^ x) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/** zip packs files without compression (PKWARE APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16). */
export function zip(files: Record<string, Uint8Array | string>): Uint8Array {
  const parts: Uint8Array[] = [];
  const central: Uint8Array[] = [];
  let offset = 0;
  const d = new Date();
  const time = (d.getHours() << 11) | (d.getMinutes() << 5) | (d.getSeconds() >> 1);
  const date = ((d.getFullYear() - 1980) << 9) | ((d.getMonth() + 1) << 5) | d.getDate();
  const record = (fields: [number, number][], ...rest: Uint8Array[]) => {
    const head = new Uint8Array(fields.reduce((n, [size]) => n + size, 0));
    const view = new DataView(head.buffer);
    let at = 0;
    for (const [size, value] of fields) {
      if (size === 2) view.setUint16(at, value, true);
      else view.setUint32(at, value, true);
      at += size;
    }
    return join([head, ...rest]);
  };
  for (const [path, content] of Object.entries(files)) {
    const name = new TextEncoder().encode(path);
    const b = typeof content === 'string' ? new TextEncoder().encode(content) : content;
    const same: [number, number][] = [[2, 0x800], [2, 0], [2, time], [2, date], [4, crc32(b)], [4, b.length], [4, b.length], [2, name.length], [2, 0]];
    const local = record([[4, 0x04034b50], [2, 20], ...same], name, b);
    central.push(record([[4, 0x02014b50], [2, 20], [2, 20], ...same, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]], name));
    parts.push(local);
    offset += local.length;
  }
  const directory = join(central);
  const n = central.length;
  return join([...parts, directory, record([[4, 0x06054b50], [2, 0], [2, 0], [2, n], [2, n], [4, directory.length], [4, offset], [2, 0]])]);
}

function join(parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}
