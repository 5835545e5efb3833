import { ask, assert, look, must, open, saved, visit } from '../harness.mjs';

const device = async (page, name) => {
  await must(page, 'POST', `/iot/things/${name}`, { attributePayload: { attributes: { room: 'kitchen' } } });
};

export const checks = {
  async 'empty, then with the index turned on, then searched'() {
    const page = await open();
    await visit(page, '#/things');
    await page.getByText('No things yet').waitFor();
    await look(page, 'things-empty');
    for (const name of ['kettle-1', 'kettle-2', 'toaster']) await device(page, name);
    await must(page, 'POST', '/iotdata/things/kettle-1/shadow', { state: { reported: { temperature: 71, on: true }, desired: { on: false } } });
    await page.getByRole('button', { name: 'Turn it on' }).click();
    await page.getByRole('link', { name: 'toaster' }).waitFor();
    await page.getByLabel('Search things').fill('kettle');
    await page.getByRole('link', { name: 'toaster' }).waitFor({ state: 'detached' });
    await page.getByRole('link', { name: 'kettle-2' }).waitFor();
    assert.equal(await page.getByRole('link', { name: /^kettle-/ }).count(), 2);
    await page.getByLabel('Search things').fill('shadow.reported.temperature > 70');
    await page.getByRole('link', { name: 'kettle-2' }).waitFor({ state: 'detached' });
    await page.getByRole('link', { name: 'kettle-1' }).waitFor();
    await page.getByLabel('Search things').fill('nothing:here');
    await page.getByText('No thing matches').waitFor();
    await page.getByLabel('Search things').fill('a AND');
    await page.getByRole('alert').waitFor();
    await page.getByLabel('Search things').fill('');
    await page.getByRole('link', { name: 'toaster' }).waitFor();
    await page.getByRole('button', { name: 'Columns' }).click();
    await page.getByLabel('attributes.room').check();
    await page.getByLabel('shadow.reported.temperature').check();
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    await page.getByRole('cell', { name: '71' }).waitFor();
    await look(page, 'things');
  },

  async 'bulk: into a group, and away'() {
    const page = await open();
    await visit(page, '#/things');
    await page.getByLabel('Choose kettle-2').check();
    await page.getByLabel('Choose toaster').check();
    await page.getByRole('button', { name: 'Add to group' }).click();
    await page.getByRole('combobox', { name: 'Group' }).fill('cellar');
    await look(page, 'things-group');
    await page.getByRole('button', { name: 'Add 2' }).click();
    await page.getByText('Added 2 things').first().waitFor();
    const { things } = await must(page, 'GET', '/iot/thing-groups/cellar/things');
    assert.deepEqual(things.sort(), ['kettle-2', 'toaster']);
    await page.getByLabel('Choose toaster').check();
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('button', { name: 'Delete 1' }).click();
    await page.getByRole('link', { name: 'toaster' }).waitFor({ state: 'detached' });
  },

  async 'thing page: live connection, shadow diff and edit, certificate, history'() {
    const page = await open();
    await visit(page, '#/things/kettle-1');
    await page.getByText('It has never connected.').waitFor();
    await look(page, 'thing');
    await page.getByRole('button', { name: 'Edit' }).click();
    await page.getByLabel('Name 2').fill('floor');
    await page.getByLabel('Value 2').fill('2');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('floor', { exact: true }).waitFor();

    await page.getByRole('tab', { name: 'Certificates' }).click();
    await page.getByText('No certificate').waitFor();
    await page.getByRole('button', { name: 'New certificate' }).click();
    await page.getByRole('button', { name: 'Make certificate' }).click();
    await page.getByText('The certificate is active and attached').waitFor();
    const dialog = page.getByRole('dialog');
    const cert = String(await saved(page, () => dialog.getByRole('button', { name: 'Certificate', exact: true }).click()));
    const key = String(await saved(page, () => dialog.getByRole('button', { name: 'Private key' }).click()));
    const ca = (await must(page, 'GET', '/berth/server')).certificateAuthorityPem;
    await page.getByRole('button', { name: 'Done' }).click();
    await page.getByText('ACTIVE', { exact: true }).waitFor();
    await look(page, 'thing-certificates');
    await ask({ do: 'connect', id: 'kettle-1', cert, key, ca });
    await page.locator('[data-connected="true"]').waitFor();

    await page.getByRole('tab', { name: 'Shadows' }).click();
    await page.getByText('differs').waitFor();
    await look(page, 'thing-shadow');
    // What the device reports shows without a click.
    await ask({ do: 'publish', id: 'kettle-1', topic: '$aws/things/kettle-1/shadow/update', payload: '{"state":{"reported":{"on":false,"temperature":20}}}' });
    await page.getByText('In step').waitFor();
    await page.getByRole('button', { name: 'Edit desired state' }).click();
    const editor = page.getByLabel('Desired state as JSON');
    await editor.fill('{"on": true,');
    await page.getByText(/Line 1/).waitFor();
    assert.ok(await page.getByRole('button', { name: 'Save' }).isDisabled());
    await editor.fill('{"on": true, "mode": {"eco": 1}}');
    await look(page, 'thing-shadow-edit');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('rowheader', { name: 'mode.eco' }).waitFor();
    const { state } = await must(page, 'GET', '/iotdata/things/kettle-1/shadow');
    assert.deepEqual(state.desired, { on: true, mode: { eco: 1 } });
    await page.getByRole('button', { name: 'Named shadow' }).click();
    await page.getByLabel('Name', { exact: true }).fill('config');
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByText('This shadow is empty').waitFor();
    await page.getByRole('button', { name: 'Set desired state' }).click();
    await page.getByLabel('Desired state as JSON').fill('{"interval": 60}');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('rowheader', { name: 'interval' }).waitFor();

    await page.getByRole('tab', { name: 'History' }).click();
    await page.getByRole('table').getByText('connected').waitFor();
    await ask({ do: 'publish', id: 'kettle-1', topic: 'kettle-1/hello', payload: '{"n":1}' });
    await page.getByText('"n": 1').waitFor();
    await assert.rejects(ask({ do: 'publish', id: 'kettle-1', topic: 'elsewhere', payload: 'x' }));
    await look(page, 'thing-history');

    // A revoked certificate ends the connection while somebody watches.
    await page.getByRole('tab', { name: 'Certificates' }).click();
    await page.getByRole('button', { name: 'Revoke' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
    await page.getByText('REVOKED', { exact: true }).waitFor();
    await page.locator('[data-connected="false"]').waitFor();
    await page.getByRole('tab', { name: 'Jobs' }).click();
    await page.getByText('No jobs for this thing').waitFor();
  },
};
