// Payloads and values as text.

const strict = new TextDecoder('utf-8', { fatal: true });

/** utf8 returns the text of bytes, or undefined if they are none. */
export function utf8(b: Uint8Array): string | undefined {
  try {
    const s = strict.decode(b);
    return /[\u0000-\u0008\u000e-\u001f]/.test(s) ? undefined : s;
  } catch {
    return undefined;
  }
}

/** visible shows characters that would move or hide others, such as marks of direction, by their code. */
export const visible = (s: string) =>
  s.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (c) => `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`);

export const encode = (s: string) => new TextEncoder().encode(s);

/** hexdump shows bytes as offset, hexadecimal and ASCII, sixteen a line. */
export function hexdump(b: Uint8Array, most = 4096): string {
  const lines: string[] = [];
  for (let i = 0; i < Math.min(b.length, most); i += 16) {
    const row = b.subarray(i, i + 16);
    const hex = [...row].map((x) => x.toString(16).padStart(2, '0')).join(' ');
    const ascii = [...row].map((x) => (x > 31 && x < 127 ? String.fromCharCode(x) : '.')).join('');
    lines.push(i.toString(16).padStart(4, '0') + '  ' + hex.padEnd(47) + '  ' + ascii);
  }
  if (b.length > most) lines.push(`… ${b.length - most} bytes more`);
  return lines.join('\n');
}

export type Json = null | boolean | number | string | Json[] | { [k: string]: Json };

export const pretty = (v: unknown) => JSON.stringify(v, null, 2);

/** prettyText indents text that is JSON and returns other text as it is. */
export function prettyText(s: string): { text: string; json: boolean } {
  const t = s.trim();
  if (!t || !'{['.includes(t[0])) return { text: s, json: false };
  try {
    return { text: pretty(JSON.parse(t)), json: true };
  } catch {
    return { text: s, json: false };
  }
}

/** parse reads JSON; its error says line and column. */
export function parse(s: string): { value?: Json; error?: string; line?: number } {
  try {
    return { value: JSON.parse(s) };
  } catch (e) {
    const message = (e as Error).message;
    const at = /position (\d+)/.exec(message);
    if (!at) return { error: s.trim() ? message : 'It is empty: write JSON.', line: s.split('\n').length };
    const before = s.slice(0, Number(at[1])).split('\n');
    return { error: `Line ${before.length}, column ${before[before.length - 1].length + 1}: ${message.replace(/ in JSON at position.*/, '').replace(/ \(line.*/, '')}.`, line: before.length };
  }
}

/** bytes is a size with its unit. */
export const bytes = (n: number) => (n < 1024 ? `${n} B` : n < 1 << 20 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / (1 << 20)).toFixed(1)} MiB`);

export const number = (n: number) => n.toLocaleString('en-US');

/** ago is a moment in milliseconds, relative to now. */
export function ago(ms: number, now = Date.now()): string {
  const s = Math.round((now - ms) / 1000);
  const f = (n: number, unit: string) => `${n} ${unit}${n === 1 ? '' : 's'}`;
  const abs = Math.abs(s);
  const t = abs < 60 ? f(abs, 'second') : abs < 3600 ? f(Math.round(abs / 60), 'minute') : abs < 86_400 * 2 ? f(Math.round(abs / 3600), 'hour') : f(Math.round(abs / 86_400), 'day');
  return abs < 5 ? 'just now' : s < 0 ? `in ${t}` : `${t} ago`;
}

export const moment = (ms: number) => new Date(ms).toLocaleString('sv-SE');
export const clock = (ms: number) => new Date(ms).toLocaleTimeString('sv-SE') + '.' + String(ms % 1000).padStart(3, '0');

/** reasons of disconnects in words. */
export const disconnectWords: Record<string, string> = {
  AUTH_ERROR: 'its permission ended', CLIENT_INITIATED_DISCONNECT: 'it said goodbye', CLIENT_ERROR: 'it broke the protocol',
  CONNECTION_LOST: 'the connection was lost', DUPLICATE_CLIENTID: 'another connection took over its client identifier',
  FORBIDDEN_ACCESS: 'it did what its policy does not allow', MQTT_KEEP_ALIVE_TIMEOUT: 'it was silent for too long',
  SERVER_ERROR: 'an error of the server', SERVER_INITIATED_DISCONNECT: 'the server ended it', THROTTLED: 'it sent too much',
  WEBSOCKET_TTL_EXPIRATION: 'its WebSocket reached its longest life', CUSTOMAUTH_TTL_EXPIRATION: 'its authorizer\'s time was over',
  AUTHORIZATION_FAILED: 'a policy did not allow it',
};
