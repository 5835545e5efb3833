// Markdown as the documentation uses it, as elements: headings, paragraphs, lists, tables, code,
// quotes, links and pictures. There is no way from a text to a tag, so that what it holds is shown,
// whatever it is.
import type { ComponentChildren } from 'preact';

export interface Links {
  /** link is where a link leads */
  link: (target: string) => string;
  /** image is the address of a picture */
  image: (target: string) => string;
}

/** slug is a heading's name in links, as on GitHub. */
export const slug = (heading: string) =>
  heading.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, '').trim().replace(/\s/g, '-');

/** plain is the text of a heading without its marks. */
export const plain = (text: string) => text.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replace(/[`*]/g, '').trim();

/** Markdown shows a text, without its first heading if that is what it begins with. */
export function Markdown({ text, links }: { text: string; links: Links }) {
  const lines = text.replace(/\r/g, '').split('\n');
  const first = lines.findIndex((l) => l.trim());
  if (first >= 0 && lines[first].startsWith('# ')) lines.splice(0, first + 1);
  return <>{blocks(lines, links)}</>;
}

const bullet = /^(\s*)([-*+]|\d+[.)])\s+/;
const rule = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const indent = (l: string) => l.length - l.trimStart().length;

function blocks(lines: string[], links: Links): ComponentChildren[] {
  const out: ComponentChildren[] = [];
  for (let i = 0; i < lines.length; ) {
    const line = lines[i];
    if (!line.trim()) {
      i++;
    } else if (line.trim().startsWith('<!--')) {
      while (i < lines.length && !lines[i].includes('-->')) i++;
      i++;
    } else if (/^\s*```/.test(line)) {
      const shift = indent(line);
      const code: string[] = [];
      for (i++; i < lines.length && !/^\s*```/.test(lines[i]); i++) code.push(lines[i].slice(Math.min(shift, indent(lines[i]))));
      i++;
      out.push(block(code));
    } else if (indent(line) >= 4) {
      const code: string[] = [];
      for (; i < lines.length && (indent(lines[i]) >= 4 || (!lines[i].trim() && lines[i + 1] !== undefined && indent(lines[i + 1]) >= 4 && lines[i + 1].trim())); i++) code.push(lines[i].slice(4));
      out.push(block(code));
    } else if (/^#{1,6} /.test(line)) {
      const level = line.indexOf(' ');
      const words = line.slice(level + 1).trim();
      const H = `h${Math.max(2, level)}` as 'h2';
      out.push(<H id={'doc-' + slug(plain(words))} tabIndex={-1}>{spans(words, links)}</H>);
      i++;
    } else if (line.includes('|') && rule.test(lines[i + 1] ?? '') && (lines[i + 1] ?? '').includes('-')) {
      const head = cells(line);
      const rows: string[][] = [];
      for (i += 2; i < lines.length && lines[i].includes('|') && lines[i].trim(); i++) rows.push(cells(lines[i]));
      const named = head.some((c) => c);
      out.push(
        <div class="doc-table" tabIndex={0} role="group" aria-label="Table">
          <table>
            {named && <thead><tr>{head.map((c) => (c ? <th scope="col">{spans(c, links)}</th> : <td />))}</tr></thead>}
            <tbody>{rows.map((r) => <tr>{head.map((_, n) => <td>{spans(r[n] ?? '', links)}</td>)}</tr>)}</tbody>
          </table>
        </div>,
      );
    } else if (bullet.test(line)) {
      const [end, list] = listAt(lines, i, links);
      i = end;
      out.push(list);
    } else if (line.startsWith('>')) {
      const quoted: string[] = [];
      for (; i < lines.length && lines[i].startsWith('>'); i++) quoted.push(lines[i].replace(/^> ?/, ''));
      out.push(<blockquote>{blocks(quoted, links)}</blockquote>);
    } else if (/^\s*(-{3,}|\*{3,})\s*$/.test(line)) {
      out.push(<hr />);
      i++;
    } else {
      const words: string[] = [];
      for (; i < lines.length && lines[i].trim() && !/^#{1,6} |^\s*```|^>/.test(lines[i]) && !(words.length && bullet.test(lines[i])); i++) words.push(lines[i].trim());
      out.push(<p>{spans(words.join(' '), links)}</p>);
    }
  }
  return out;
}

const block = (code: string[]) => <pre class="box" tabIndex={0} role="group" aria-label="Code"><code>{code.join('\n')}</code></pre>;

/** listAt reads the list that begins at a line; what is indented below an item belongs to it. */
function listAt(lines: string[], i: number, links: Links): [number, ComponentChildren] {
  const [, lead, mark] = bullet.exec(lines[i])!;
  const items: ComponentChildren[] = [];
  const same = (l: string) => {
    const m = bullet.exec(l);
    return m !== null && m[1].length === lead.length && /\d/.test(m[2]) === /\d/.test(mark);
  };
  while (i < lines.length && same(lines[i])) {
    const width = bullet.exec(lines[i])![0].length;
    const own = [lines[i].slice(width)];
    let loose = false;
    for (i++; i < lines.length; i++) {
      const l = lines[i];
      if (!l.trim()) {
        if (!lines[i + 1]?.trim() || indent(lines[i + 1]) <= lead.length) break;
        loose = true;
      } else if (indent(l) <= lead.length && (bullet.test(l) || loose || /^#|^```|^\|/.test(l))) break;
      own.push(l.slice(Math.min(width, indent(l))));
    }
    items.push(<li>{loose || own.some((l) => bullet.test(l) || l.startsWith('```')) ? blocks(own, links) : spans(own.map((l) => l.trim()).join(' '), links)}</li>);
    if (!lines[i]?.trim() && same(lines[i + 1] ?? '')) i++;
  }
  return [i, /\d/.test(mark) ? <ol>{items}</ol> : <ul>{items}</ul>];
}

/** cells splits a row of a table; a bar after a backslash or in code is text. */
function cells(row: string): string[] {
  const out = [''];
  const text = row.trim().replace(/^\|/, '').replace(/(^|[^\\])\|$/, '$1');
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '\\' && text[i + 1] === '|') {
      out[out.length - 1] += '|';
      i++;
    } else if (text[i] === '|') out.push('');
    else out[out.length - 1] += text[i];
  }
  return out.map((c) => c.trim());
}

const inline = /(`+)(.+?)\1(?!`)|!\[([^\]]*)\]\(([^)\s]+)\)|\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)|\*\*(.+?)\*\*|(?<![\w*])\*(?=\S)([^*]+?)\*(?![\w*])|<(https?:[^>\s]+)>|(https?:\/\/[^\s<>()`]*[^\s<>()`.,;:])|\\([\\`*_{}[\]()#+\-.!|<>])/;

function spans(text: string, links: Links): ComponentChildren[] {
  const out: ComponentChildren[] = [];
  while (text) {
    const m = inline.exec(text);
    if (!m) {
      out.push(text);
      break;
    }
    if (m.index) out.push(text.slice(0, m.index));
    text = text.slice(m.index + m[0].length);
    if (m[2] !== undefined) out.push(<code>{m[2].replace(/^ (.*) $/, '$1')}</code>);
    else if (m[4] !== undefined) out.push(<img src={links.image(m[4])} alt={m[3]} loading="lazy" />);
    else if (m[6] !== undefined) out.push(anchor(m[6], spans(m[5], links), links));
    else if (m[7] !== undefined) out.push(<strong>{spans(m[7], links)}</strong>);
    else if (m[8] !== undefined) out.push(<em>{spans(m[8], links)}</em>);
    else if (m[9] ?? m[10]) out.push(anchor((m[9] ?? m[10])!, [(m[9] ?? m[10])!], links));
    else out.push(m[11]);
  }
  return out;
}

/** anchor is a link within the documentation or to a web page; anything else stays text. */
function anchor(target: string, words: ComponentChildren[], links: Links): ComponentChildren {
  if (/^https?:\/\//.test(target)) return <a href={target} rel="noreferrer noopener" target="_blank">{words}</a>;
  return /^[a-z]+:/i.test(target) ? words : <a href={links.link(target)}>{words}</a>;
}
