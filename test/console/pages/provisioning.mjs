import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ask, assert, look, must, open, saved, visit } from '../harness.mjs';

const dir = mkdtempSync(join(tmpdir(), 'console-'));
const at = (name) => join(dir, name);
const text = (name) => readFileSync(at(name), 'utf8');
const openssl = (...args) => execFileSync('openssl', args, { cwd: dir, stdio: 'pipe' });

const authority = (name) => openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`, '-out', `${name}.pem`, '-days', '30', '-subj', `/O=Acme/CN=${name}`);
const sign = (ca, name, file) => {
  openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${file}.key`, '-out', `${file}.csr`, '-subj', `/CN=${name}`);
  openssl('x509', '-req', '-in', `${file}.csr`, '-CA', `${ca}.pem`, '-CAkey', `${ca}.key`, '-CAcreateserial', '-days', '30', '-out', `${file}.pem`);
};
const device = async (page, ca, name) => ({ id: name, cert: text(`${name}.pem`) + text(`${ca}.pem`), key: text(`${name}.key`), ca: (await must(page, 'GET', '/berth/server')).certificateAuthorityPem });

export const checks = {
  async 'a template is made, changed, put back, and hooked'() {
    const page = await open();
    await visit(page, '#/provisioning');
    await page.getByText('No templates yet').waitFor();
    await look(page, 'provisioning-empty');
    await page.getByRole('button', { name: 'New template' }).click();
    await page.getByLabel('Name', { exact: true }).fill('fleet');
    await look(page, 'provisioning-new');
    await page.getByRole('button', { name: 'Make template' }).click();
    await page.getByRole('heading', { level: 1, name: 'fleet' }).waitFor();
    const t = await must(page, 'GET', '/iot/provisioning-templates/fleet');
    assert.equal(t.enabled, true);
    const body = JSON.parse(t.templateBody);
    assert.equal(body.Resources.policy.Properties.PolicyName, 'device-own-topics');
    const editor = page.getByLabel('Body');
    await editor.fill('{"Resources": {}');
    await page.getByText(/Line 1/).waitFor();
    assert.ok(await page.getByRole('button', { name: 'Save as new version' }).isDisabled());
    body.Resources.thing.Properties.ThingName = { 'Fn::Join': ['', ['lamp-', { Ref: 'SerialNumber' }]] };
    await editor.fill(JSON.stringify(body));
    await page.getByRole('button', { name: 'Save as new version' }).click();
    await page.getByRole('heading', { name: 'Version 2' }).waitFor();
    await look(page, 'provisioning-template');
    await page.getByRole('tab', { name: 'Versions' }).click();
    await page.getByRole('button', { name: 'Put in force' }).click();
    await page.getByText('Version 1 is in force').waitFor();
    await page.getByRole('button', { name: 'Show' }).first().click();
    await look(page, 'provisioning-versions');
    await page.getByRole('tab', { name: 'Hook' }).click();
    await page.getByLabel('Target').fill('http://127.0.0.1:9/allow');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('The hook is asked from now on').waitFor();
    await look(page, 'provisioning-hook');
    await page.getByLabel('Target').fill('');
    await page.getByRole('button', { name: 'Remove' }).click();
    await page.getByText('nobody: every device').waitFor();
  },

  async 'a claim certificate does what it is for and nothing else'() {
    const page = await open();
    await visit(page, '#/provisioning/fleet?tab=claims');
    await page.getByText('No claim certificate yet').waitFor();
    await page.getByRole('button', { name: 'New claim certificate' }).click();
    await page.getByText('The claim certificate is active').waitFor();
    const get = (name) => saved(page, () => page.getByRole('button', { name, exact: true }).click());
    writeFileSync(at('claim.zip'), await get('All files'));
    assert.match(execFileSync('python3', ['-m', 'zipfile', '-l', at('claim.zip')], { encoding: 'utf8' }), /claim-fleet\/claim\.private\.key/);
    const claim = { id: 'board-1', cert: String(await get('Certificate')), key: String(await get('Private key')), ca: String(await get('CA certificate')) };
    await page.getByRole('table').getByText('ACTIVE').waitFor();
    await look(page, 'provisioning-claims');
    await ask({ do: 'connect', ...claim });
    await ask({ do: 'publish', id: 'board-1', topic: '$aws/certificates/create/json', payload: '{}' });
    await assert.rejects(ask({ do: 'publish', id: 'board-1', topic: 'board-1/hello', payload: 'x' }));
    await page.getByRole('button', { name: 'Deactivate' }).click();
    await page.getByText('No board gets in with this claim').waitFor();
    await assert.rejects(ask({ do: 'connect', ...claim, id: 'board-2' }));
  },

  async 'an authority is registered with proof; its device waits, is approved, and gets in'() {
    const page = await open();
    authority('factory');
    await visit(page, '#/provisioning?tab=authorities');
    await page.getByText('No authority registered').waitFor();
    await page.getByRole('button', { name: 'Register authority' }).click();
    await page.getByLabel('CA certificate, from a file').setInputFiles(at('factory.pem'));
    await page.getByText('Subject: O=Acme, CN=factory').waitFor();
    const { registrationCode } = await must(page, 'GET', '/iot/registrationcode');
    await page.getByText(registrationCode, { exact: true }).waitFor();
    sign('factory', registrationCode, 'proof');
    await page.getByLabel('Verification certificate', { exact: true }).fill(text('proof.pem'));
    await look(page, 'provisioning-register');
    await page.getByRole('button', { name: 'Register', exact: true }).click();
    await page.getByText('They wait until somebody approves them.').waitFor();
    await look(page, 'provisioning-authorities');
    for (const name of ['lamp-1', 'lamp-2']) {
      sign('factory', name, name);
      await assert.rejects(ask({ do: 'connect', ...(await device(page, 'factory', name)) }));
    }
    await page.getByRole('tab', { name: 'Waiting for approval' }).click();
    const row = (name) => page.getByRole('row', { name: new RegExp(`CN=${name}`) });
    for (let tries = 0; tries < 20 && (await page.getByRole('button', { name: 'Approve' }).count()) < 2; tries++) {
      await page.getByRole('button', { name: 'Look again' }).click();
      await page.waitForTimeout(100);
    }
    await row('lamp-2').waitFor();
    await look(page, 'provisioning-pending');
    await row('lamp-1').getByRole('button', { name: 'Approve' }).click();
    assert.equal(await page.getByLabel('Thing', { exact: true }).inputValue(), 'lamp-1');
    await page.getByRole('button', { name: 'Let it in' }).click();
    await row('lamp-1').waitFor({ state: 'detached' });
    await ask({ do: 'connect', ...(await device(page, 'factory', 'lamp-1')) });
    await ask({ do: 'publish', id: 'lamp-1', topic: 'lamp-1/hello', payload: 'x' });
    await row('lamp-2').getByRole('button', { name: 'Reject' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Reject' }).click();
    await page.getByText('Nobody is waiting').waitFor();
    await assert.rejects(ask({ do: 'connect', ...(await device(page, 'factory', 'lamp-2')) }));
  },

  async 'an authority without proof runs a template just in time, or lets in by subject'() {
    const page = await open();
    authority('plant');
    await visit(page, '#/provisioning');
    await page.getByRole('button', { name: 'New template' }).click();
    await page.getByLabel('Name', { exact: true }).fill('plant');
    await page.getByLabel('Devices come with a').selectOption('JITP');
    await page.getByRole('button', { name: 'Make template' }).click();
    await page.getByRole('heading', { level: 1, name: 'plant' }).waitFor();
    await visit(page, '#/provisioning?tab=authorities');
    await page.getByRole('button', { name: 'Register authority' }).click();
    await page.getByLabel('CA certificate', { exact: true }).fill(text('plant.pem'));
    await page.getByLabel('Mode').selectOption('SNI_ONLY');
    await page.getByLabel('Template').selectOption('plant');
    await page.getByRole('button', { name: 'Register', exact: true }).click();
    const card = page.locator('.card', { hasText: 'CN=plant' });
    await card.getByText('SNI_ONLY').waitFor();
    sign('plant', 'press-1', 'press-1');
    await assert.rejects(ask({ do: 'connect', ...(await device(page, 'plant', 'press-1')) }));
    await ask({ do: 'connect', ...(await device(page, 'plant', 'press-1')) });

    await card.getByRole('button', { name: 'Just-in-time settings' }).click();
    await page.getByLabel(/is let in if its subject matches/).check();
    await page.getByLabel('Subjects').fill('CN=press-*');
    await look(page, 'provisioning-settings');
    await page.getByRole('button', { name: 'Save' }).click();
    await card.getByText('Those that match are let in: CN=press-*').waitFor();
    sign('plant', 'press-2', 'press-2');
    await assert.rejects(ask({ do: 'connect', ...(await device(page, 'plant', 'press-2')) }));
    await ask({ do: 'connect', ...(await device(page, 'plant', 'press-2')) });
    await card.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await card.waitFor({ state: 'detached' });
  },
};
