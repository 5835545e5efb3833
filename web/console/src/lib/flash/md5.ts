// MD5 (RFC 1321), which the loaders of Espressif's chips verify flash with; browsers have none.

const shifts = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
const sines = Int32Array.from({ length: 64 }, (_, i) => Math.floor(Math.abs(Math.sin(i + 1)) * 2 ** 32));

/** md5 returns the sum in lower-case hexadecimal. */
export function md5(b: Uint8Array): string {
  const padded = new Uint8Array((((b.length + 8) >> 6) + 1) << 6);
  padded.set(b);
  padded[b.length] = 128;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, (b.length << 3) >>> 0, true);
  view.setUint32(padded.length - 4, Math.floor(b.length / 2 ** 29), true);
  const s = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476);
  const m = new Int32Array(16);
  for (let at = 0; at < padded.length; at += 64) {
    for (let i = 0; i < 16; i++) m[i] = view.getInt32(at + 4 * i, true);
    let [a, x, c, d] = s;
    for (let i = 0; i < 64; i++) {
      const round = i >> 4;
      const f = round === 0 ? (x & c) | (~x & d) : round === 1 ? (x & d) | (c & ~d) : round === 2 ? x ^ c ^ d : c ^ (x | ~d);
      const word = m[round === 0 ? i : round === 1 ? (5 * i + 1) & 15 : round === 2 ? (3 * i + 5) & 15 : (7 * i) & 15];
      const sum = (a + f + sines[i] + word) | 0;
      const by = shifts[round][i & 3];
      [a, d, c, x] = [d, c, x, (x + ((sum << by) | (sum >>> (32 - by)))) | 0];
    }
    s[0] += a;
    s[1] += x;
    s[2] += c;
    s[3] += d;
  }
  return [...new Uint8Array(s.buffer)].map((v) => v.toString(16).padStart(2, '0')).join('');
}
