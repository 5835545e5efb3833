import { assert, look, open, saved, visit } from '../harness.mjs';

const send = async (page, topic, payload, more) => {
  await page.getByLabel('Topic', { exact: true }).fill(topic);
  await page.getByRole('textbox', { name: 'Message', exact: true }).fill(payload);
  await more?.();
  await page.getByRole('button', { name: 'Send' }).click();
};
const listen = async (page, filter) => {
  await page.getByLabel('Topic filter').fill(filter);
  await page.getByRole('button', { name: 'Listen', exact: true }).click();
  await page.getByRole('button', { name: `Stop listening to ${filter}` }).waitFor();
};
const line = (page, text) => page.locator('.message', { hasText: text });

export const checks = {
  async 'listen, send, look at JSON, binary, retained and properties'() {
    const page = await open();
    await visit(page, '#/client');
    await page.locator('[data-mqtt="connected"]').waitFor();
    await look(page, 'client-empty');
    await listen(page, 'kettle-1/#');
    await listen(page, 'cellar/+/state');
    await send(page, 'kettle-1/hello', '{"a":{"b":[1,2]}}', async () => {
      await page.getByText('MQTT 5 properties').click();
      await page.getByLabel('Content type').fill('application/json');
      await page.getByLabel('Response topic').fill('kettle-1/answers');
      await page.getByLabel('User properties').fill('colour = green\nsize = 5');
    });
    await line(page, 'kettle-1/hello').click();
    await page.getByText('"b": [').waitFor();
    for (const text of ['application/json', 'kettle-1/answers', 'green']) await page.getByText(text, { exact: true }).last().waitFor();
    await page.getByLabel('Content type').fill('');
    await page.getByLabel('Response topic').fill('');
    await page.getByLabel('User properties').fill('');
    await page.getByLabel('Hexadecimal').check();
    await send(page, 'cellar/1/state', '00 ff 10 80');
    await line(page, '00 ff 10 80').click();
    await page.getByText('0000  00 ff 10 80').waitFor();
    await page.getByLabel('Hexadecimal').uncheck();
    await page.getByLabel('Retain').check();
    await send(page, 'attic/state', 'kept');
    await page.getByText('sent', { exact: true }).waitFor();
    await page.getByLabel('Retain').uncheck();
    await listen(page, 'attic/state');
    await page.locator('.message:not(:has-text("sent"))', { hasText: 'retained' }).waitFor();
    await look(page, 'client');

    await page.getByLabel('Filter messages by topic or text').fill('attic');
    await page.getByText(/of \d+ messages/).waitFor();
    await page.getByLabel('Filter messages by topic or text').fill('');
    await page.getByRole('button', { name: 'Pause' }).click();
    await send(page, 'kettle-1/hello', 'while paused');
    await page.getByRole('button', { name: 'Go on (1)' }).waitFor();
    assert.equal(await line(page, 'while paused').count(), 0);
    await page.getByRole('button', { name: 'Go on' }).click();
    await line(page, 'while paused').waitFor();
    const lines = String(await saved(page, () => page.getByRole('button', { name: 'Export' }).click())).trim().split('\n').map((l) => JSON.parse(l));
    assert.ok(lines.some((l) => l.payloadBase64 === 'AP8QgA=='), 'the binary message is in the export');
    assert.ok(lines.some((l) => l.properties?.userProperties?.[0]?.[1] === 'green'));
  },

  async 'messages come in while another page is shown, and a bad filter is told'() {
    const page = await open();
    await visit(page, '#/client?filter=' + encodeURIComponent('news/#'));
    await page.getByRole('button', { name: 'Stop listening to news/#' }).waitFor();
    await send(page, 'news/1', 'first');
    await visit(page, '#/policies');
    await page.getByRole('heading', { level: 1, name: 'Policies' }).waitFor();
    await visit(page, '#/client');
    await line(page, 'first').waitFor();
    await page.getByLabel('Topic filter').fill('bad/#/filter');
    await page.getByRole('button', { name: 'Listen', exact: true }).click();
    await page.getByRole('alert').waitFor();
  },

  async 'five thousand messages do not stall'() {
    const page = await open();
    await visit(page, '#/client');
    await page.locator('[data-mqtt="connected"]').waitFor();
    await listen(page, 'flood/#');
    const longest = await page.evaluate(async () => {
      const session = await (await fetch('/console/api/session')).json();
      let worst = 0;
      let last = performance.now();
      const tick = () => { worst = Math.max(worst, performance.now() - last); last = performance.now(); requestAnimationFrame(tick); };
      requestAnimationFrame(tick);
      for (let i = 0; i < 100; i++) await Promise.all(Array.from({ length: 50 }, (_, n) => fetch(`/console/api/iotdata/topics/flood/${n}`, { method: 'POST', body: JSON.stringify({ i, n }), headers: { 'X-Berth-Csrf': session.csrfToken } })));
      return worst;
    });
    await page.getByText('5,000 messages').first().waitFor();
    assert.ok(longest < 3000, `a frame took ${longest} ms`);
    return `longest frame ${Math.round(longest)} ms`;
  },
};
