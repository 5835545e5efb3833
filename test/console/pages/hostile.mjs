// Names, topics and payloads that want to be more than text.
import { assert, look, must, open, visit } from '../harness.mjs';

const script = '<img src=x onerror="document.title=\'taken\'"><script>document.title="taken"</script>';
const rtl = '\u202Egnp.\u2066exe\u200F';

export const checks = {
  async 'they stay text on every page'() {
    const page = await open();
    await must(page, 'POST', '/iot/indexing/config', { thingIndexingConfiguration: { thingIndexingMode: 'REGISTRY_AND_SHADOW', thingConnectivityIndexingMode: 'STATUS' } });
    await must(page, 'POST', '/iot/things/__proto__', {});
    await must(page, 'POST', '/iot/things/constructor', {});
    await must(page, 'POST', '/iot/things/' + 'x'.repeat(128), {});
    const state = JSON.stringify({ state: { reported: { [script]: script, [rtl]: rtl, deep: { a: { b: { c: script } } } }, desired: { [script]: 1 } } });
    await must(page, 'POST', '/iotdata/things/__proto__/shadow', state);
    await visit(page, '#/things');
    await page.getByRole('link', { name: '__proto__' }).click();
    await page.getByRole('tab', { name: 'Shadows' }).click();
    await page.getByText(script, { exact: true }).first().waitFor();
    assert.ok(!/[\u202a-\u202e\u2066-\u2069]/.test(await page.evaluate(() => document.body.innerText)), 'a mark of direction is not shown as what it is');
    await look(page, 'hostile-shadow');
    await visit(page, '#/things');
    await page.getByRole('link', { name: 'constructor' }).waitFor();
    await look(page, 'hostile-things');

    await visit(page, '#/client?filter=%23');
    await page.locator('[data-mqtt="connected"]').waitFor();
    await page.getByRole('button', { name: 'Stop listening to #' }).waitFor();
    await must(page, 'POST', '/iotdata/topics/' + encodeURIComponent(`x/${script.replaceAll('/', '')}/${rtl}`), script);
    const large = JSON.stringify({ text: script + rtl + 'ü'.repeat(60_000) });
    await must(page, 'POST', '/iotdata/topics/large', large.slice(0, 128 * 1024));
    await must(page, 'POST', '/iotdata/topics/nested', '['.repeat(60_000));
    await page.locator('.message', { hasText: 'onerror' }).first().click();
    await page.locator('pre', { hasText: 'onerror' }).waitFor();
    await page.locator('.message', { hasText: 'large' }).click();
    await page.getByText('copying takes all').waitFor();
    await page.locator('.message', { hasText: 'nested' }).click();
    await look(page, 'hostile-client');

    for (const bad of ['#/things/' + encodeURIComponent(script), '#/policies/' + encodeURIComponent(script), '#/things/%zz', '#/' + encodeURIComponent(script), '#/things/..%2f..%2fberth']) {
      await visit(page, bad);
      await page.getByRole('alert').first().waitFor();
    }
    await visit(page, '#/activity');
    await page.getByRole('row', { name: /UpdateThingShadow/ }).getByRole('button', { name: 'Details' }).first().click();
    await page.getByRole('dialog').getByText('onerror').first().waitFor();
    assert.ok(!(await page.title()).includes('taken'), 'a payload ran as script');
    assert.equal(await page.evaluate(() => document.querySelectorAll('main img, main script').length), 0);
  },
};
