import { assert, call, look, open, options, visit } from '../harness.mjs';

export const checks = {
  async 'a wrong password is told'() {
    const page = await open({ signIn: false });
    await page.getByLabel('Console password').fill('wrong');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('alert').getByText('This is not the console password').waitFor();
    await look(page, 'sign-in');
  },

  async 'the cookie is out of reach of scripts, and signing out ends the session'() {
    const page = await open();
    const cookies = await page.context().cookies();
    assert.deepEqual(cookies.map((c) => [c.name, c.httpOnly, c.secure, c.sameSite]), [['__Host-berth', true, true, 'Strict']]);
    assert.equal(await page.evaluate(() => document.cookie), '');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('heading', { name: 'Sign in to berth' }).waitFor();
    await page.context().addCookies(cookies);
    await page.reload();
    await page.getByRole('heading', { name: 'Sign in to berth' }).waitFor();
  },

  async 'plain HTTP on loopback works too'() {
    const page = await open({ base: options.plain });
    assert.deepEqual((await page.context().cookies()).map((c) => c.name), ['berth-console']);
  },

  async 'keyboard: skip link, shortcuts, dialog with focus kept in'() {
    const page = await open();
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the page');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
    for (const [key, title] of [['t', 'Things'], ['m', 'Test client'], ['p', 'Policies'], ['a', 'Activity'], ['s', 'Start']]) {
      await page.keyboard.press('g');
      await page.keyboard.press(key);
      await page.getByRole('heading', { level: 1, name: title }).waitFor();
    }
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
    await look(page, 'shortcuts');
    for (let i = 0; i < 6; i++) {
      await page.keyboard.press('Tab');
      assert.ok(await page.evaluate(() => document.activeElement === document.body || !!document.activeElement.closest('dialog')), 'focus left the dialog');
    }
    await page.keyboard.press('Escape');
    assert.equal(await page.getByRole('dialog').count(), 0);
    await visit(page, '#/client');
    await page.keyboard.press('/');
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute('type')), 'search');
  },

  async 'colours can be chosen'() {
    const page = await open();
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.emulateMedia({ colorScheme: 'light' });
    const light = await background();
    await page.getByRole('button', { name: /Colours/ }).click(); // light
    await page.getByRole('button', { name: /Colours/ }).click(); // dark
    assert.notEqual(await background(), light);
    await page.reload();
    await page.getByRole('heading', { level: 1 }).waitFor();
    assert.notEqual(await background(), light);
  },

  async 'a viewer sees everything and can press nothing that changes'() {
    const page = await open({ credentials: options.viewer });
    await visit(page, '#/policies');
    assert.ok(await page.getByRole('button', { name: 'New policy' }).first().isDisabled());
    await visit(page, '#/client');
    await page.locator('[data-mqtt="connected"]').waitFor();
    await page.getByText('You may listen').waitFor();
    const r = await call(page, 'POST', '/iot/things/from-a-viewer', '{}');
    assert.equal(r.status, 403, JSON.stringify(r));
  },

  async 'the first view is light'() {
    const page = await open({ signIn: false });
    const weight = await page.evaluate(() => performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation')).reduce((n, e) => n + e.transferSize, 0));
    assert.ok(weight > 1000 && weight < 150 * 1024, `${weight} bytes`);
    return `${weight} bytes`;
  },
};
