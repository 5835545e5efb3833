// Where in the console somebody is: the part of the address behind #, such as #/things/kettle?tab=shadow.
import { computed, signal } from '@preact/signals';

const raw = signal(location.hash);
addEventListener('hashchange', () => (raw.value = location.hash));

export interface Place {
  path: string[]; // unescaped segments
  query: URLSearchParams;
}

export const place = computed<Place>(() => {
  const [path, query] = raw.value.replace(/^#\/?/, '').split('?', 2);
  return { path: path.split('/').filter(Boolean).map(unescape1), query: new URLSearchParams(query ?? '') };
});

function unescape1(s: string): string {
  try {
    return decodeURIComponent(s);
  } catch {
    return s;
  }
}

/** to is the link to a place. */
export function to(path: string[], query?: Record<string, string>): string {
  const q = query ? new URLSearchParams(query).toString() : '';
  return '#/' + path.map(encodeURIComponent).join('/') + (q ? '?' + q : '');
}

export function go(path: string[], query?: Record<string, string>): void {
  location.hash = to(path, query);
}

/** setQuery changes the query without a new entry in the browser's history. */
export function setQuery(changes: Record<string, string | undefined>): void {
  const q = new URLSearchParams(place.value.query);
  for (const [k, v] of Object.entries(changes)) if (v) q.set(k, v); else q.delete(k);
  const text = q.toString();
  history.replaceState(null, '', '#/' + place.value.path.map(encodeURIComponent).join('/') + (text ? '?' + text : ''));
  raw.value = location.hash;
}
