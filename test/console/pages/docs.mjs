import { assert, look, open, options, visit } from '../harness.mjs';

export const checks = {
  async 'the documentation is read, searched and followed'() {
    const page = await open();
    await page.keyboard.press('g');
    await page.keyboard.press('h');
    await page.getByRole('heading', { level: 1, name: 'Documentation' }).waitFor();
    await look(page, 'docs');

    // Every link on every page leads to a page, and to a heading if it names one.
    const index = await page.evaluate(async () => (await (await fetch('/console/docs/index.json')).json()).pages);
    assert.ok(index.length > 20, `${index.length} pages`);
    const places = new Set();
    for (const { path, title } of index) {
      await visit(page, path === 'README.md' ? '#/docs' : '#/docs/' + path.replace(/\.md$/, ''));
      await page.getByRole('heading', { level: 1, name: title, exact: true }).waitFor();
      await page.locator('.doc').waitFor();
      for (const href of await page.locator('.doc a[href^="#/docs"]').evaluateAll((all) => all.map((a) => a.getAttribute('href')))) places.add(path + ' ' + href);
      const left = await page.locator('.doc').evaluate((d) => {
        const c = d.cloneNode(true);
        c.querySelectorAll('pre, code').forEach((e) => e.remove());
        return /\]\(|\*\*|```|<!--/.exec(c.textContent)?.[0];
      });
      assert.equal(left, undefined, `${path}: marks are left over`);
    }
    const slug = (h) => h.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, '').trim().replace(/\s/g, '-');
    const known = new Map(index.map((p) => [p.path === 'README.md' ? '#/docs' : '#/docs/' + p.path.replace(/\.md$/, ''), p]));
    for (const line of places) {
      const [from, href] = line.split(' ');
      const [place, query] = href.split('?');
      const to = known.get(place);
      assert.ok(to, `${from} links to ${href}, which is no page`);
      const at = query && new URLSearchParams(query).get('at');
      if (at) assert.ok([to.title, ...to.headings].some((h) => slug(h) === at), `${from} links to ${href}, and there is no such heading`);
    }
    return `${index.length} pages, ${places.size} links`;
  },

  async 'a search finds headings; a heading is gone to'() {
    const page = await open();
    await visit(page, '#/docs');
    await page.getByRole('searchbox').waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('board without hardware');
    const found = page.getByRole('list', { name: 'Found' }).getByRole('link', { name: 'A board without hardware' });
    await found.waitFor();
    await look(page, 'docs-search');
    await found.click();
    await page.getByRole('heading', { level: 1, name: 'The station' }).waitFor();
    await page.locator('#doc-a-board-without-hardware:focus').waitFor();
    await look(page, 'docs-station');
    await page.getByRole('searchbox').fill('no such words at all');
    await page.getByText('Nothing found').waitFor();
    await look(page, 'docs-nothing');
  },

  async 'a page that is not there; hostile text stays text'() {
    const page = await open();
    await visit(page, '#/docs/none');
    await page.getByText('no such page of documentation').waitFor();
    await page.route('**/console/docs/hostile.md', (r) => r.fulfill({
      contentType: 'text/markdown',
      body: '# <b>T</b>\n\n<img src=x onerror=alert(1)> [a](javascript:alert(2)) [b](data:text/html,x) ![p](javascript:alert(3))\n\n| <i>c</i> |\n|---|\n| `<u>` |\n',
    }));
    await visit(page, '#/docs/hostile');
    await page.getByRole('heading', { level: 1, name: '<b>T</b>' }).waitFor();
    assert.equal(await page.locator('.doc a').count(), 0);
    assert.equal(await page.locator('.doc img[onerror], .doc b, .doc i, .doc u').count(), 0);
    assert.ok((await page.locator('.doc img').getAttribute('src')).startsWith('/console/docs/'));
    assert.match(await page.locator('.doc').innerText(), /<img src=x onerror=alert\(1\)>/);
  },

  async 'nobody else loads it'() {
    const page = await open();
    const names = await page.evaluate(() => performance.getEntriesByType('resource').map((e) => e.name));
    assert.ok(!names.some((n) => n.startsWith(options.base + '/console/docs/') || /\/docs-/.test(n)), names.join('\n'));
  },
};
