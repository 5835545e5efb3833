import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ask, assert, look, must, open, saved } from '../harness.mjs';

let files;

export const checks = {
  async 'a device is made, its files fit, and the page turns green when it connects'() {
    const page = await open();
    await page.getByText('Connect your first device').waitFor();
    await look(page, 'start');
    await page.getByLabel('Name of the device').fill('kettle 1');
    await page.getByText('Use letters, digits').waitFor();
    await page.getByLabel('Name of the device').fill('kettle-1');
    await page.getByRole('button', { name: 'Make device' }).click();
    await page.locator('[data-state="waiting"]').waitFor();
    const get = (name) => saved(page, () => page.getByRole('button', { name }).click());
    files = { cert: String(await get(/^Certificate/)), key: String(await get(/^Private key/)), ca: String(await get(/^CA certificate whom/)) };
    const header = String(await get(/C header/));
    assert.match(header, /AWS_CERT_PRIVATE\[\] PROGMEM/);
    assert.match(header, /#define THINGNAME "kettle-1"/);
    const dir = mkdtempSync(join(tmpdir(), 'console-'));
    writeFileSync(join(dir, 'device.zip'), await get(/Ready to build/));
    assert.match(execFileSync('python3', ['-m', 'zipfile', '-l', join(dir, 'device.zip')], { encoding: 'utf8' }), /kettle-1\/arduino\/kettle-1\/kettle-1\.ino/);
    execFileSync('python3', ['-m', 'zipfile', '-t', join(dir, 'device.zip')]);
    for (const [button, format, size] of [[/SPIFFS image/, 'spiffs', 65536], [/NVS image/, 'nvs', 24576]]) {
      const image = await get(button);
      assert.equal(image.length, size);
      await ask({ do: 'image', format, image: image.toString('base64'), key: files.key });
    }
    await page.getByRole('img', { name: /QR code/ }).evaluate((img) => img.decode());
    await ask({ do: 'connect', id: 'kettle-1', ...files });
    await page.locator('[data-state="connected"]').waitFor();
    await page.getByText('kettle-1 is connected').waitFor();
    await look(page, 'start-connected');
    await ask({ do: 'disconnect', id: 'kettle-1' });
    await page.locator('[data-state="gone"]').waitFor();
    await page.getByText('it said goodbye').waitFor();
  },

  async 'the page says why a device was refused'() {
    const page = await open();
    await page.getByLabel('Name of the device').fill('toaster');
    await page.getByRole('button', { name: 'Make device' }).click();
    await page.locator('[data-state="waiting"]').waitFor();
    const cert = String(await saved(page, () => page.getByRole('button', { name: /^Certificate/ }).click()));
    const key = String(await saved(page, () => page.getByRole('button', { name: /^Private key/ }).click()));
    await assert.rejects(ask({ do: 'connect', id: 'somebody-else', cert, key, ca: files.ca }));
    await page.getByText('The server refused something').waitFor();
    await look(page, 'start-refused');
  },

  async 'the policy lets a device use its own topics only, and a second one shares it'() {
    const page = await open();
    const { policies } = await must(page, 'GET', '/iot/policies');
    assert.deepEqual(policies.map((p) => p.policyName), ['device-own-topics']);
    await ask({ do: 'connect', id: 'kettle-1', ...files });
    await ask({ do: 'publish', id: 'kettle-1', topic: 'kettle-1/hello', payload: 'x' });
    await assert.rejects(ask({ do: 'publish', id: 'kettle-1', topic: 'toaster/hello', payload: 'x' }));
  },

  async 'a name that is taken is told'() {
    const page = await open();
    await page.getByLabel('Name of the device').fill('kettle-1');
    await page.getByRole('button', { name: 'Make device' }).click();
    await page.getByRole('alert').getByText('There is a thing called kettle-1 already').waitFor();
  },
};
