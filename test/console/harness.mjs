// What every page's checks share: a signed-in browser, axe, screenshots, and the test that holds the
// server, which is asked over standard output and answers on standard input.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

export { assert };
export const options = JSON.parse(process.argv[3]);

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** ask lets the test do something outside the browser. */
export async function ask(question) {
  console.log(JSON.stringify(question));
  const { value } = await answers.next();
  const answer = JSON.parse(value);
  if (answer.error) throw new Error(answer.error);
  return answer;
}

let browser;

export async function open({ width = 1280, height = 900, signIn = true, credentials, base = options.base, path = '', prepare } = {}) {
  browser ??= await chromium.launch({ executablePath: options.chromium, args: ['--no-sandbox'] });
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width, height }, acceptDownloads: true, reducedMotion: 'reduce', permissions: ['clipboard-read', 'clipboard-write'] });
  const page = await context.newPage();
  await prepare?.(page);
  page.setDefaultTimeout(15_000);
  page.problems = [];
  page.on('pageerror', (e) => page.problems.push('uncaught: ' + e.message));
  page.on('console', (m) => {
    if (/content security policy|violat/i.test(m.text())) page.problems.push('policy: ' + m.text());
  });
  page.on('dialog', (d) => {
    page.problems.push('a dialog of the browser: ' + d.message());
    void d.dismiss();
  });
  page.on('request', (r) => {
    if (!r.url().startsWith(base) && !/^(data|blob):/.test(r.url())) page.problems.push('a request to elsewhere: ' + r.url());
  });
  await page.goto(base + '/' + path);
  if (signIn) {
    if (credentials) {
      await page.getByRole('tab', { name: 'Access key' }).click();
      await page.getByLabel('Access key ID').fill(credentials.id);
      await page.getByLabel('Secret access key').fill(credentials.secret);
    } else await page.getByLabel('Console password').fill(options.password);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('navigation', { name: 'Pages' }).waitFor({ state: width < 800 ? 'attached' : 'visible' });
  }
  return page;
}

export async function visit(page, hash) {
  await page.evaluate((h) => { location.hash = h; }, hash);
}

/** look checks the page with axe in light and dark, at full and at phone width, and keeps pictures. */
export async function look(page, name) {
  const size = page.viewportSize();
  for (const [width, height] of [[size.width, size.height], [390, 844]]) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await page.waitForTimeout(80); // a frame, for the screenshot only
      await page.screenshot({ path: `${options.dir}/${name}-${width < 500 ? 'phone-' : ''}${colorScheme}.png` });
      await page.evaluate(axeSource);
      const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
      const told = violations.map((v) => `${v.id}: ${v.help}\n    ${v.nodes.slice(0, 4).map((n) => n.html.slice(0, 200) + ' ' + (n.any[0]?.message ?? '')).join('\n    ')}`);
      assert.equal(told.length, 0, `axe, ${name}, ${colorScheme}, ${width} wide:\n  ${told.join('\n  ')}`);
    }
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${name}: ${overflow} pixels too wide at ${width}`);
  }
  await page.setViewportSize(size);
  await page.emulateMedia({ colorScheme: 'light' });
}

/** call uses the API with the page's session. */
export function call(page, method, path, body, headers = {}) {
  return page.evaluate(async ([method, path, body, headers]) => {
    const session = await (await fetch('/console/api/session')).json();
    const r = await fetch('/console/api' + path, { method, body, headers: { 'X-Berth-Csrf': session.csrfToken, ...headers } });
    const text = await r.text();
    return { status: r.status, body: text && text[0] === '{' ? JSON.parse(text) : text };
  }, [method, path, body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body), headers]);
}

export async function must(page, method, path, body, headers) {
  const r = await call(page, method, path, body, headers);
  assert.equal(r.status, 200, `${method} ${path}: ${JSON.stringify(r.body)}`);
  return r.body;
}

export async function saved(page, click) {
  const [download] = await Promise.all([page.waitForEvent('download'), click()]);
  return readFileSync(await download.path());
}

/** run runs checks one after another and tells how each went. */
export async function run(checks) {
  let failed = 0;
  for (const [name, check] of Object.entries(checks)) {
    const began = Date.now();
    try {
      const note = await check();
      console.log(JSON.stringify({ check: name, ok: true, ms: Date.now() - began, note }));
    } catch (e) {
      failed++;
      const pages = browser?.contexts().flatMap((c) => c.pages()) ?? [];
      await pages.at(-1)?.screenshot({ path: `${options.dir}/failed-${name.replace(/\W+/g, '-')}.png` }).catch(() => {});
      console.log(JSON.stringify({ check: name, ok: false, ms: Date.now() - began, note: String(e.stack ?? e) }));
    }
    for (const c of browser?.contexts() ?? []) {
      for (const p of c.pages()) {
        if (!p.problems?.length) continue;
        failed++;
        console.log(JSON.stringify({ check: name, ok: false, note: [...new Set(p.problems)].slice(0, 5).join('\n') }));
      }
      await c.close();
    }
  }
  await browser?.close();
  process.exit(failed ? 1 : 0);
}
