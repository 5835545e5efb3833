// The documentation of the version that runs, out of the server itself.
import { useEffect } from 'preact/hooks';
import { Markdown, plain, slug } from '../lib/markdown';
import { place, setQuery, to } from '../lib/router';
import { Card, Empty, Icon, Loading, Page, Problem, useLoad } from '../ui/all';
import type { PageProps } from './table';

interface Entry { path: string; title: string; headings: string[] }

const base = '/console/docs/';
const home = 'README.md';

// Laid upon the page when it is first opened, so that nobody else loads it.
const sheet = new CSSStyleSheet();
sheet.replaceSync(`
.doc { display: grid; gap: 16px; max-width: 92ch; min-width: 0; line-height: 1.6; }
.doc > * { min-width: 0; } .doc h2 { font-size: 20px; line-height: 28px; margin-top: 16px; } .doc h3 { font-size: 16px; margin-top: 8px; }
.doc h2:focus, .doc h3:focus { text-decoration: underline; text-decoration-color: var(--accent); text-underline-offset: 4px; }
.doc ul, .doc ol { margin: 0; padding-left: 24px; display: grid; gap: 4px; } .doc ul { list-style: disc; } .doc li > * + * { margin-top: 8px; }
.doc :not(pre) > code { background: var(--sunk); padding: 1px 4px; border-radius: 4px; }
.doc pre.box { max-height: none; white-space: pre; overflow-wrap: normal; }
.doc-table { overflow-x: auto; border: 1px solid var(--line); border-radius: var(--radius); } .doc-table table { min-width: 0; }
.doc-table th, .doc-table td { padding: 8px 12px; } .doc-table th { white-space: normal; } .doc-table td:first-child { min-width: 6em; } .doc-table code { overflow-wrap: normal; }
.doc blockquote { margin: 0; padding-left: 16px; border-left: 4px solid var(--line); color: var(--muted); }
.doc img { max-width: 100%; background: #fff; border-radius: var(--radius); } .doc hr { width: 100%; border: 0; border-top: 1px solid var(--line); }
.doc-found { display: grid; gap: 8px; } .doc-found li { display: grid; }
`);

export default function Docs({ path }: PageProps) {
  useEffect(() => {
    document.adoptedStyleSheets = [...document.adoptedStyleSheets.filter((s) => s !== sheet), sheet];
  }, []);
  const file = path.length ? path.join('/') + '.md' : home;
  const index = useLoad((signal) => load(base + 'index.json', signal).then((t) => (JSON.parse(t) as { pages: Entry[] }).pages), []);
  const page = useLoad((signal) => load(base + file, signal), [file]);
  const query = place.value.query.get('q') ?? '';
  const at = place.value.query.get('at');
  useEffect(() => {
    if (!page.value || !at || query) return;
    const heading = document.getElementById('doc-' + at);
    heading?.scrollIntoView();
    heading?.focus({ preventScroll: true });
  }, [page.value, at, query]);

  const title = page.value ? plain(/^# (.*)$/m.exec(page.value)?.[1] ?? file) : 'Documentation';
  const search = (
    <div class="search grow">
      <Icon name="search" />
      <input type="search" data-search aria-label="Search the documentation" placeholder="Search titles and headings" value={query} onInput={(e) => setQuery({ q: e.currentTarget.value || undefined })} /><kbd aria-hidden="true">/</kbd>
    </div>
  );
  return (
    <Page title={query ? 'Search' : title} back={path.length || query ? { href: to(['docs']), text: 'Documentation' } : undefined} actions={search}>
      {query ? <Found words={query} pages={index.value} error={index.error} retry={index.reload} /> :
        page.error ? <Problem error={page.error} retry={page.reload} /> :
        page.value === undefined ? <Loading /> :
        <Card><article class="doc"><Markdown text={page.value} links={{ link: (t) => link(file, t), image: (t) => base + resolve(file, t) }} /></article></Card>}
    </Page>
  );
}

async function load(address: string, signal: AbortSignal): Promise<string> {
  const r = await fetch(address, { signal, credentials: 'same-origin' });
  if (r.status === 404) throw new Error('This version of berth has no such page of documentation. Search for it, or begin at the start.');
  if (!r.ok) throw new Error(`The documentation could not be loaded: the server answers ${r.status}.`);
  return r.text();
}

/** resolve is the path of what a page links to, below the folder of the documentation. */
function resolve(from: string, target: string): string {
  const parts = from.split('/').slice(0, -1);
  for (const p of target.split('/')) {
    if (p === '..') parts.pop();
    else if (p !== '.') parts.push(p);
  }
  return parts.join('/');
}

const pathOf = (file: string) => (file === home ? ['docs'] : ['docs', ...file.replace(/\.md$/, '').split('/')]);

function link(from: string, target: string): string {
  const [file, at] = target.split('#', 2);
  return to(pathOf(file ? resolve(from, file) : from), at ? { at } : undefined);
}

function Found({ words, pages, error, retry }: { words: string; pages?: Entry[]; error: unknown; retry: () => void }) {
  if (error) return <Problem error={error} retry={retry} />;
  if (!pages) return <Loading />;
  const all = words.toLowerCase().split(/\s+/).filter(Boolean);
  const has = (s: string) => all.every((w) => s.toLowerCase().includes(w));
  const found = pages.flatMap((p) => {
    const title = has(p.title + ' ' + p.path);
    const headings = p.headings.filter((h) => has(h) || (!title && has(p.title + ' ' + h)));
    return title || headings.length ? [{ ...p, weight: title ? 0 : 1, headings: headings.slice(0, 12) }] : [];
  }).sort((a, b) => a.weight - b.weight);
  if (!found.length) return <Empty icon="book" title="Nothing found">No title and no heading has these words. Try another one, or begin at the start of the documentation.</Empty>;
  return (
    <Card title={`${found.length} page${found.length === 1 ? '' : 's'}`}>
      <ul class="doc-found" aria-label="Found">
        {found.map((p) => (
          <li key={p.path}>
            <a href={to(pathOf(p.path))}><strong>{p.title}</strong></a>
            {p.headings.map((h) => <a key={h} href={to(pathOf(p.path), { at: slug(plain(h)) })}>{plain(h)}</a>)}
          </li>
        ))}
      </ul>
    </Card>
  );
}
