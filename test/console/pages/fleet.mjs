import { assert, ask, call, look, must, open, options, visit } from '../harness.mjs';

export const checks = {
  async 'connected, rates, reasons, handshakes, versions'() {
    const page = await open();
    await visit(page, '#/fleet');
    await page.getByText('Fleet indexing is off').waitFor();
    await look(page, 'fleet-empty');
    await must(page, 'POST', '/iot/indexing/config', { thingIndexingConfiguration: { thingIndexingMode: 'REGISTRY' } });
    for (const [name, version] of [['kettle-1', 'v1'], ['kettle-2', 'v1'], ['kettle-3', 'v2']]) await must(page, 'POST', `/iot/things/${name}`, { attributePayload: { attributes: { version } } });
    const made = await must(page, 'POST', '/iot/keys-and-certificate?setAsActive=true');
    await must(page, 'POST', '/iot/policies/all', { policyDocument: JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 'iot:*', Resource: '*' }] }) });
    await must(page, 'PUT', '/iot/target-policies/all', { target: made.certificateArn });
    await must(page, 'PUT', '/iot/things/kettle-1/principals', undefined, { 'x-amzn-principal': made.certificateArn });
    const ca = (await must(page, 'GET', '/berth/server')).certificateAuthorityPem;
    const device = { id: 'kettle-1', cert: made.certificatePem, key: made.keyPair.PrivateKey, ca };
    for (let n = 0; n < 2; n++) {
      await ask({ do: 'connect', ...device });
      await ask({ do: 'disconnect', id: 'kettle-1' });
    }
    await ask({ do: 'connect', ...device });
    for (let n = 0; n < 5; n++) await ask({ do: 'publish', id: 'kettle-1', topic: 'steam', payload: '1' });
    await visit(page, '#/start');
    await visit(page, '#/fleet');
    await page.getByRole('img', { name: /^Clients connected: connected from \d/ }).waitFor();
    await page.getByText('it said goodbye').waitFor();
    await page.getByRole('row', { name: /kettle-1 3/ }).waitFor(); // connects most often
    await page.getByRole('region', { name: 'Who talks most' }).getByRole('row', { name: /kettle-1 0\.5 0 5/ }).waitFor();
    await page.getByRole('button', { name: 'Count by attributes.version' }).click();
    await page.getByRole('row', { name: /^v1 2/ }).waitFor();
    await page.getByRole('row', { name: /^v2 1/ }).waitFor();
    await page.getByRole('region', { name: 'Handshakes that failed' }).waitFor(); // this browser's, which did not trust the server at first
    await page.locator('.facts > div', { hasText: 'Connected' }).getByText('1', { exact: true }).waitFor();
    await look(page, 'fleet');
    await page.getByRole('button', { name: 'Two days' }).click();
    assert.match(page.url(), /range=days/);
    await page.getByRole('link', { name: 'v1' }).click();
    await page.getByRole('link', { name: 'kettle-2' }).waitFor();
    assert.equal(await page.getByRole('link', { name: 'kettle-3' }).count(), 0);
  },

  async 'a viewer sees it all'() {
    const page = await open({ credentials: options.viewer });
    await visit(page, '#/fleet');
    await page.getByText('it said goodbye').waitFor();
    assert.equal((await call(page, 'GET', '/berth/expiring-certificates')).status, 200);
  },
};
