// Keys that never leave the browser: ECDSA P-256 by WebCrypto, and the request for a certificate
// (PKCS #10, RFC 2986).

const der = (tag: number, ...parts: ArrayLike<number>[]): number[] => {
  const body = parts.flatMap((p) => Array.from(p));
  const n = body.length;
  const length = n < 128 ? [n] : n < 256 ? [0x81, n] : [0x82, n >> 8, n & 255];
  return [tag, ...length, ...body];
};
const sequence = (...parts: ArrayLike<number>[]) => der(0x30, ...parts);
const commonName = [0x06, 3, 0x55, 4, 3]; // 2.5.4.3
const ecdsaWithSHA256 = [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]; // 1.2.840.10045.4.3.2

/** integer is an unsigned big-endian number as DER wants it. */
function integer(b: Uint8Array): number[] {
  let i = 0;
  while (i < b.length - 1 && b[i] === 0) i++;
  const rest = Array.from(b.subarray(i));
  return der(2, rest[0] & 128 ? [0, ...rest] : rest);
}

export function pem(label: string, b: ArrayLike<number>): string {
  const base64 = btoa(Array.from(b, (x) => String.fromCharCode(x)).join(''));
  return `-----BEGIN ${label}-----\n${base64.replace(/.{64}(?=.)/g, '$&\n')}\n-----END ${label}-----\n`;
}

export interface KeyAndRequest {
  privateKeyPem: string; // PKCS #8
  csrPem: string;
}

/** canMakeKeys is false on pages that browsers do not trust with cryptography. */
export const canMakeKeys = () => typeof crypto !== 'undefined' && !!crypto.subtle;

export async function makeKey(name: string): Promise<KeyAndRequest> {
  const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const spki = new Uint8Array(await crypto.subtle.exportKey('spki', pair.publicKey));
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey('pkcs8', pair.privateKey));
  const subject = sequence(der(0x31, sequence(commonName, der(0x0c, new TextEncoder().encode(name.slice(0, 64))))));
  const info = Uint8Array.from(sequence([2, 1, 0], subject, spki, [0xa0, 0]));
  const raw = new Uint8Array(await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, pair.privateKey, info));
  const signature = sequence(integer(raw.subarray(0, 32)), integer(raw.subarray(32)));
  const csr = sequence(info, sequence(ecdsaWithSHA256), der(3, [0], signature));
  return { privateKeyPem: pem('PRIVATE KEY', pkcs8), csrPem: pem('CERTIFICATE REQUEST', csr) };
}
