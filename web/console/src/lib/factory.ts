// The station in the browser: what becomes of a board that is plugged in, and what has become of others.
import { signal } from '@preact/signals';
import { ApiError, iot, seg, server } from './api';
import { ensurePolicy, image, namePattern } from './device';
import type { Device } from './device';
import { makeKey } from './keys';
import type { Board, Identified, Part } from './flash/board';
import { fits, hex, parseTable, tableOffset } from './flash/partitions';
import type { Format, Partition } from './flash/partitions';

export interface Firmware { name: string; address: string; data: Uint8Array }

export interface Recipe {
  thing: string; // with {mac}, {MAC}, {mac:}
  format: Format;
  partition: string; // empty: the first that fits
  firmware: Firmware[];
  baud: number;
  replace: boolean;
}

/** Refusal is a failure with what to do about it. */
export class Refusal extends Error {
  constructor(message: string, readonly fix: string) {
    super(message);
  }
}

export const thingName = (pattern: string, mac: string) => {
  const plain = mac.replace(/:/g, '');
  return pattern.replaceAll('{mac:}', mac).replaceAll('{mac}', plain).replaceAll('{MAC}', plain.toUpperCase());
};

/** parts are the firmware files; their addresses have been checked. */
export function parts(recipe: Recipe): Part[] {
  return recipe.firmware.map((f) => {
    const address = Number(f.address);
    if (!f.address || !Number.isInteger(address) || address < 0 || address % 4096) throw new Refusal(`${f.name}: ${f.address || 'no address'} is not an address in flash.`, 'Write it like 0x10000; it is a multiple of 0x1000.');
    return { name: f.name, address, data: f.data };
  });
}

/** choose finds where the identity goes: in the table that is about to be written, or in the board's. */
export function choose(recipe: Recipe, files: Part[], onBoard: Partition[]): Partition {
  const given = files.find((f) => f.address === tableOffset);
  const table = given ? parseTable(given.data) : onBoard;
  if (!table.length) throw new Refusal('The board has no partition table.', `Add the partition table to the firmware files, at ${hex(tableOffset)}, or flash the firmware first.`);
  const list = fits(table, recipe.format);
  const found = recipe.partition ? list.find((p) => p.name === recipe.partition) : list[0];
  if (!found) throw new Refusal(`There is no ${recipe.format.toUpperCase()} partition${recipe.partition ? ` called ${recipe.partition}` : ''}.`, `The table has ${table.map((p) => p.name).join(', ')}. Choose another partition or format.`);
  if (found.encrypted) throw new Refusal(`The partition ${found.name} is encrypted.`, 'The browser writes plain identities only: use berth station.');
  const over = files.find((f) => f.address < found.offset + found.size && f.address + f.data.length > found.offset);
  if (over) throw new Refusal(`${over.name} overlaps the partition ${found.name}.`, 'Check the addresses of the firmware files.');
  return found;
}

interface Made { device: Device; created: boolean; old: string[] }

const header = (arn: string) => ({ headers: { 'x-amzn-principal': arn } });

/** enrol makes thing, certificate and policy of a board; the key comes from this browser. */
async function enrol(thing: string, mac: string, replace: boolean): Promise<Made> {
  let old: string[] = [];
  let created = false;
  try {
    await iot.get(`/things/${seg(thing)}`);
    old = (await iot.get<{ principals: string[] }>(`/things/${seg(thing)}/principals`)).principals.filter((p) => p.includes(':cert/'));
    if (old.length && !replace) throw new Refusal(`${thing} has an identity already.`, 'If this board is to get a new one, choose "Replace identities"; its old certificate is revoked then.');
  } catch (e) {
    if (!(e instanceof ApiError) || e.status !== 404) throw e;
    await iot.post(`/things/${seg(thing)}`, { attributePayload: { attributes: { mac } } });
    created = true;
  }
  const info = await server();
  const policy = await ensurePolicy();
  const key = await makeKey(thing);
  const c = await iot.post<{ certificateId: string; certificateArn: string; certificatePem: string }>('/certificates', { certificateSigningRequest: key.csrPem }, { query: { setAsActive: true } });
  const device: Device = { ...c, thing, privateKeyPem: key.privateKeyPem, madeHere: true, caPem: info.certificateAuthorityPem, endpoint: info.server.endpoint, port: info.server.mqttPort };
  const made = { device, created, old };
  try {
    await iot.put(`/target-policies/${seg(policy)}`, { target: c.certificateArn });
    await iot.put(`/things/${seg(thing)}/principals`, undefined, header(c.certificateArn));
  } catch (e) {
    await withdraw(made);
    throw e;
  }
  return made;
}

/** withdraw takes back what enrol made for a board that failed. What cannot be taken back stays revoked. */
async function withdraw({ device: d, created }: Made): Promise<void> {
  await iot.put(`/certificates/${d.certificateId}`, undefined, { query: { newStatus: 'REVOKED' } }).catch(() => {});
  await iot.del(`/things/${seg(d.thing)}/principals`, undefined, header(d.certificateArn)).catch(() => {});
  if (created) await iot.del(`/things/${seg(d.thing)}`).catch(() => {});
}

export type Tell = (step: string, done?: number) => void;

/** prepare makes a device of a board. The old identity is revoked only when the new one is verified. */
export async function prepare(board: Board, found: Identified, recipe: Recipe, tell: Tell): Promise<string> {
  const files = parts(recipe);
  const place = choose(recipe, files, found.table);
  const thing = thingName(recipe.thing, found.mac);
  if (!namePattern.test(thing)) throw new Refusal(`${thing || 'Nothing'} is not a name of a thing.`, 'Use letters, digits, : _ - and {mac} in the pattern.');
  tell('Making its identity');
  const made = await enrol(thing, found.mac, recipe.replace);
  try {
    files.push({ name: 'identity', address: place.offset, data: await image(made.device, recipe.format, place.size) });
    await board.write(files, (part, done) => tell(`Writing and verifying ${part.name}`, done));
  } catch (e) {
    await withdraw(made);
    throw e;
  }
  const table = files.find((f) => f.address === tableOffset);
  if (table) found.table = parseTable(table.data);
  for (const arn of made.old) {
    await iot.put(`/certificates/${arn.split('/').pop()}`, undefined, { query: { newStatus: 'REVOKED' } });
    await iot.del(`/things/${seg(thing)}/principals`, undefined, header(arn));
  }
  return thing;
}

/** explain puts a failure into words with the fix. */
export function explain(e: unknown): { reason: string; fix: string } {
  const message = e instanceof Error ? e.message : String(e);
  if (e instanceof Refusal) return { reason: message, fix: e.fix };
  if (e instanceof ApiError) return { reason: message, fix: e.status === 403 ? 'Sign in as an admin.' : 'The board was not changed in the cloud for good: try again.' };
  if (/open serial port|already open|Access denied/i.test(message)) return { reason: 'The port could not be opened.', fix: 'Another program or tab holds it: close serial monitors and the IDE, then try again.' };
  if (/Failed to connect|stream stopped|No serial data/i.test(message)) return { reason: 'The chip does not answer.', fix: 'Hold BOOT, press RESET, let BOOT go and try again. Take a cable that carries data, not power alone.' };
  if (/not what was written|MD5/i.test(message)) return { reason: message, fix: 'Try a lower speed and another cable. If it fails again, the flash chip is worn: put the board aside.' };
  if (/lost|disconnected|not open|closed/i.test(message)) return { reason: 'The board was unplugged.', fix: 'Plug it in again and prepare it again; nothing of it is left in the cloud.' };
  return { reason: message, fix: 'Plug the board in again and try again.' };
}

/** Done is a board in the list; it holds no secret. */
export interface Done { at: number; result: 'PASS' | 'FAIL'; mac: string; chip: string; thing: string; reason: string }

const stored = 'berth-factory';
const most = 5000;

function load(): Done[] {
  try {
    const list = JSON.parse(localStorage.getItem(stored) ?? '[]');
    return Array.isArray(list) ? list : [];
  } catch {
    return [];
  }
}

export const boards = signal<Done[]>(load());

export function keep(list: Done[]): void {
  boards.value = list.slice(0, most);
  try {
    localStorage.setItem(stored, JSON.stringify(boards.value));
  } catch {
    // only this page then
  }
}

/** csv is the list for a spreadsheet, which must not take a field for a formula. */
export function csv(list: Done[]): string {
  const field = (s: string) => '"' + (/^[=+\-@\t\r]/.test(s) ? "'" + s : s).replace(/"/g, '""') + '"';
  return ['time,result,mac,chip,thing,reason', ...list.map((d) => [new Date(d.at).toISOString(), d.result, d.mac, d.chip, d.thing, d.reason].map(field).join(','))].join('\r\n') + '\r\n';
}
