import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assert, look, must, open, options, saved, visit } from '../harness.mjs';
import { board, serial } from '../serial.mjs';

const dir = mkdtempSync(join(tmpdir(), 'console-'));
const at = (name) => join(dir, name);
const berth = (...args) => execFileSync(options.berth, args, { cwd: dir, stdio: 'pipe' });

const connections = async (page, thing) => (await must(page, 'GET', `/berth/connections?name=${thing}&max=50`)).events.filter((e) => e.eventType === 'connected').length;
const eventually = async (page, what, ok) => {
  for (let i = 0; i < 100; i++) {
    if (await ok()) return;
    await page.waitForTimeout(100);
  }
  assert.fail(`never: ${what}`);
};

export const checks = {
  async 'without a port the page teaches'() {
    const page = await open();
    await visit(page, '#/factory');
    await page.getByText('No port yet').waitFor();
    await look(page, 'factory-empty');
  },

  async 'boards are flashed through the page, connect, and get new identities'() {
    const { server } = await (async () => {
      const page = await open();
      return must(page, 'GET', '/berth/server');
    })();
    const macs = ['7c:df:a1:00:00:01', '7c:df:a1:00:00:02'];
    const endpoint = `localhost:${server.mqttPort}`;
    const chips = [await board({ mac: macs[0], endpoint }), await board({ mac: macs[1], endpoint, more: ['--chip', 'esp32s3'] })];
    writeFileSync(at('partitions.csv'), 'nvs,data,nvs,0x9000,0x6000\notadata,data,ota,0xf000,0x2000\nota_0,app,ota_0,0x20000,1M\nota_1,app,ota_1,0x120000,1M\nstorage,data,spiffs,0x220000,0x10000\n');
    berth('image', 'partitions', 'convert', 'partitions.csv', 'partitions.bin');
    berth('virtual-esp32', 'app', 'app.bin');
    berth('virtual-esp32', 'app', '--chip', 'esp32s3', 'app-s3.bin');

    const page = await open({ prepare: serial([...chips, null]) });
    page.setDefaultTimeout(60_000);
    await visit(page, '#/factory');
    for (let i = 0; i < 3; i++) await page.getByRole('button', { name: 'Add port' }).first().click();
    const station = (n) => page.locator(`section[aria-label="Port ${n}"]`);
    const state = (n, s) => page.locator(`section[aria-label="Port ${n}"][data-state="${s}"]`).waitFor();
    const go = (n) => station(n).getByRole('button', { name: 'Prepare board' }).click();

    await go(3);
    await state(3, 'fail');
    await station(3).getByText('close serial monitors').waitFor();
    await go(1);
    await state(1, 'fail');
    await station(1).getByText('The board has no partition table.').waitFor();
    await station(1).getByText(macs[0], { exact: true }).waitFor();
    await look(page, 'factory-fail');

    // Each kind of chip has an application of its own.
    const firmware = async (app) => {
      await page.getByLabel('Firmware files (optional)').setInputFiles([at('partitions.bin'), at(app)]);
      assert.equal(await page.getByLabel('Address of partitions.bin').inputValue(), '0x8000');
      await page.getByLabel(`Address of ${app}`).fill('0x20000');
    };
    const things = macs.map((m) => 'board-' + m.replaceAll(':', ''));
    await firmware('app.bin');
    await go(1);
    await state(1, 'pass');
    for (const name of ['partitions.bin', 'app.bin']) await page.getByRole('button', { name: `Remove ${name}` }).click();
    await firmware('app-s3.bin');
    await go(2);
    await state(2, 'pass');
    await look(page, 'factory-pass');
    for (const t of things) await eventually(page, `${t} connects`, async () => (await connections(page, t)) > 0);

    for (const name of ['partitions.bin', 'app-s3.bin']) await page.getByRole('button', { name: `Remove ${name}` }).click();
    await station(1).getByRole('button', { name: 'Identify' }).click();
    await state(1, 'found');
    await station(1).getByLabel('Identity goes to').selectOption('storage');
    for (const n of [1, 2]) await go(n); // both at once
    await state(1, 'fail');
    await state(2, 'fail');
    await station(1).getByText('has an identity already').waitFor();
    const before = (await must(page, 'GET', `/iot/things/${things[0]}/principals`)).principals[0];
    const earlier = await connections(page, things[0]);
    await page.getByRole('checkbox', { name: /Replace identities/ }).check();
    for (const n of [1, 2]) await go(n); // both at once
    await state(1, 'pass');
    await state(2, 'pass');
    const { principals } = await must(page, 'GET', `/iot/things/${things[0]}/principals`);
    assert.equal(principals.length, 1);
    assert.notEqual(principals[0], before);
    const { certificateDescription } = await must(page, 'GET', `/iot/certificates/${before.split('/').pop()}`);
    assert.equal(certificateDescription.status, 'REVOKED');
    await eventually(page, 'the board connects with the new identity', async () => (await connections(page, things[0])) > earlier);

    const list = String(await saved(page, () => page.getByRole('button', { name: 'CSV' }).click())).trim().split('\r\n');
    assert.equal(list[0], 'time,result,mac,chip,thing,reason');
    assert.deepEqual(list.slice(1).map((l) => l.split('","')[1]).sort(), ['FAIL', 'FAIL', 'FAIL', 'FAIL', 'PASS', 'PASS', 'PASS', 'PASS']);
    await page.reload();
    await page.getByText('Boards done: 4 passed, 4 failed').waitFor();
    // The list holds no key.
    assert.ok(!(await page.evaluate(() => JSON.stringify({ ...localStorage }))).includes('PRIVATE'));
  },

  async 'a viewer prepares nothing'() {
    const page = await open({ credentials: options.viewer });
    await visit(page, '#/factory');
    assert.ok(await page.getByRole('button', { name: 'Add port' }).first().isDisabled());
  },
};
