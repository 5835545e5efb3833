// The REST planes as the console calls them: the paths of AWS's operations, with the session's
// cookie and token instead of a signature.
import { signal } from '@preact/signals';

export interface Session {
  signedIn: boolean;
  user?: string;
  role?: 'admin' | 'viewer';
  csrfToken?: string;
  endsAt?: number;
  address?: string; // of this browser, as the server sees it
}

/** session is undefined until the server has said whether somebody is signed in. */
export const session = signal<Session | undefined>(undefined);

export const isAdmin = () => session.value?.role === 'admin';

/** ApiError is an answer that is not a success, with AWS's name of the exception. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly kind: string,
    message: string,
  ) {
    super(message);
  }
}

export type Query = Record<string, string | number | boolean | undefined>;

export interface Options {
  query?: Query;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

function address(path: string, query?: Query): string {
  const q = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) if (value !== undefined && value !== '') q.set(name, String(value));
  const text = q.toString();
  return text ? path + '?' + text : path;
}

async function send(method: string, path: string, body: unknown, o: Options = {}): Promise<Response> {
  const headers: Record<string, string> = { ...o.headers };
  if (method !== 'GET' && session.value?.csrfToken) headers['X-Berth-Csrf'] = session.value.csrfToken;
  let payload: BodyInit | undefined;
  if (body instanceof Uint8Array || body instanceof Blob || typeof body === 'string') payload = body as BodyInit;
  else if (body !== undefined) {
    payload = JSON.stringify(body);
    headers['Content-Type'] = 'application/json';
  }
  let r: Response;
  try {
    r = await fetch(address(path, o.query), { method, headers, body: payload, signal: o.signal, credentials: 'same-origin' });
  } catch (e) {
    if (o.signal?.aborted) throw e;
    throw new ApiError(0, 'NetworkError', 'The server does not answer. Is berth serve still running? Your change may or may not have been made.');
  }
  if (r.ok) return r;
  const text = await r.text();
  let message = text;
  try {
    message = JSON.parse(text).message ?? text;
  } catch {
    // the text itself
  }
  const kind = r.headers.get('x-amzn-ErrorType') ?? '';
  if (r.status === 401 && kind === 'SessionExpiredException') session.value = { signedIn: false };
  throw new ApiError(r.status, kind, message || `The server answered ${r.status}.`);
}

async function json<T>(r: Response): Promise<T> {
  const text = await r.text();
  return (text ? JSON.parse(text) : {}) as T;
}

function plane(prefix: string) {
  const at = (path: string) => '/console/api/' + prefix + path;
  return {
    get: async <T>(path: string, query?: Query, o?: Options) => json<T>(await send('GET', at(path), undefined, { ...o, query })),
    post: async <T>(path: string, body?: unknown, o?: Options) => json<T>(await send('POST', at(path), body, o)),
    put: async <T>(path: string, body?: unknown, o?: Options) => json<T>(await send('PUT', at(path), body, o)),
    patch: async <T>(path: string, body?: unknown, o?: Options) => json<T>(await send('PATCH', at(path), body, o)),
    del: async <T>(path: string, query?: Query, o?: Options) => json<T>(await send('DELETE', at(path), undefined, { ...o, query })),
    /** bytes is for answers that are not JSON. */
    bytes: async (method: string, path: string, body?: unknown, o?: Options) =>
      new Uint8Array(await (await send(method, at(path), body, o)).arrayBuffer()),
    /** url is for images and links. */
    url: (path: string, query?: Query) => address(at(path), query),
  };
}

/** The control plane, the two data planes, and berth's own operations (paths without /berth). */
export const iot = plane('iot');
export const data = plane('iotdata');
export const jobsData = plane('iot-jobs-data');
export const berth = plane('berth');

export async function loadSession(): Promise<void> {
  session.value = await json<Session>(await send('GET', '/console/api/session', undefined));
}

export async function signIn(credentials: { password: string } | { accessKeyId: string; secretAccessKey: string }): Promise<void> {
  session.value = await json<Session>(await send('POST', '/console/api/sign-in', credentials));
}

export async function signOut(): Promise<void> {
  await send('POST', '/console/api/sign-out', undefined);
  session.value = { signedIn: false };
}

/** all collects every page of a list. */
export async function all<T>(page: (token?: string) => Promise<{ items: T[]; next?: string }>, most = 10_000): Promise<T[]> {
  const out: T[] = [];
  let token: string | undefined;
  do {
    const p = await page(token);
    out.push(...p.items);
    token = p.next;
  } while (token && out.length < most);
  return out;
}

/** seg escapes a name for use in a path. */
export const seg = encodeURIComponent;

export interface ServerInfo {
  server: { endpoint: string; mqttPort: number; httpsPort: number; httpPort?: number; plainPort?: number; region: string; account: string };
  certificateAuthorityPem: string;
}

let info: Promise<ServerInfo> | undefined;

/** server says where devices find this server; asked once. */
export function server(): Promise<ServerInfo> {
  info ??= berth.get<ServerInfo>('/server').catch((e) => {
    info = undefined;
    throw e;
  });
  return info;
}
