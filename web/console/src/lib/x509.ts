// What the console shows of certificates that it is given: the subject (RFC 5280, section 4.1.2.6).

interface Element { tag: number; start: number; end: number }

/** element reads the header of the DER element at a position. */
function element(b: Uint8Array, at: number): Element {
  const tag = b[at];
  let length = b[at + 1];
  let start = at + 2;
  if (length & 128) {
    const n = length & 127;
    length = 0;
    for (let i = 0; i < n; i++) length = length * 256 + b[start + i];
    start += n;
  }
  if (tag === undefined || !(start + length <= b.length)) throw new Error('not a certificate');
  return { tag, start, end: start + length };
}

function children(b: Uint8Array, e: Element): Element[] {
  const out: Element[] = [];
  for (let at = e.start; at < e.end; ) {
    const c = element(b, at);
    out.push(c);
    at = c.end;
  }
  return out;
}

const names: Record<string, string> = { '85,4,3': 'CN', '85,4,5': 'serialNumber', '85,4,6': 'C', '85,4,7': 'L', '85,4,8': 'ST', '85,4,10': 'O', '85,4,11': 'OU', '85,4,46': 'DNQ' };

/** subject returns the attributes of a PEM certificate's subject by their short names; none if it is none. */
export function subject(pem: string): Record<string, string> {
  const out: Record<string, string> = {};
  try {
    const base64 = /-----BEGIN CERTIFICATE-----([^-]+)/.exec(pem)?.[1] ?? '';
    const b = Uint8Array.from(atob(base64.replace(/\s/g, '')), (c) => c.charCodeAt(0));
    const fields = children(b, children(b, element(b, 0))[0]);
    // version, if it is there, serial number, algorithm, issuer, validity, subject
    const name = fields[fields[0].tag === 0xa0 ? 5 : 4];
    for (const set of children(b, name)) {
      for (const pair of children(b, set)) {
        const [type, value] = children(b, pair);
        const short = names[b.subarray(type.start, type.end).join(',')];
        if (short) out[short] ??= new TextDecoder().decode(b.subarray(value.start, value.end));
      }
    }
  } catch {
    // what was read so far
  }
  return out;
}

export const subjectText = (pem: string) => Object.entries(subject(pem)).map(([k, v]) => `${k}=${v}`).join(', ');
