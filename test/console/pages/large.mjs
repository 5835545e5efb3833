// A hundred thousand things.
import { assert, look, must, open, visit } from '../harness.mjs';

export const checks = {
  async 'the list scrolls and searches without a stall'() {
    const page = await open();
    await must(page, 'POST', '/iot/indexing/config', { thingIndexingConfiguration: { thingIndexingMode: 'REGISTRY_AND_SHADOW', thingConnectivityIndexingMode: 'STATUS' } });
    await visit(page, '#/things');
    await page.getByText('100,000 in the registry').waitFor();
    await page.evaluate(() => {
      globalThis.worst = 0;
      new PerformanceObserver((list) => {
        for (const e of list.getEntries()) globalThis.worst = Math.max(globalThis.worst, e.duration);
      }).observe({ entryTypes: ['longtask'] });
    });
    const body = page.locator('.list-body');
    for (let i = 1; i <= 30; i++) {
      await body.evaluate((el, n) => { el.scrollTop = n * 1500; }, i);
      await page.waitForTimeout(16);
    }
    await page.getByRole('link', { name: 'thing-001030' }).waitFor({ state: 'attached' });
    const began = Date.now();
    await body.evaluate((el) => { el.scrollTop = el.scrollHeight; });
    await page.getByRole('link', { name: 'thing-099999' }).waitFor({ timeout: 60_000 });
    const end = Date.now() - began;
    assert.ok(await page.locator('.list-body [role=row]').count() < 100, 'too many rows are drawn');
    const scrolled = await page.evaluate(() => globalThis.worst);
    await look(page, 'things-100000');
    await page.evaluate(() => { globalThis.worst = 0; });
    const searched = Date.now();
    await page.getByLabel('Search things').fill('thing-0777');
    await page.getByText('100 found').first().waitFor();
    await page.getByRole('link', { name: 'thing-077700' }).waitFor();
    const search = Date.now() - searched;
    const worst = Math.max(scrolled, await page.evaluate(() => globalThis.worst));
    assert.ok(worst < 1500, `the page stood still for ${worst} ms`);
    return `to the end in ${end} ms, search in ${search} ms, longest task ${Math.round(worst)} ms`;
  },
};
