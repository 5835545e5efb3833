import type { Firmware, Recipe } from '../../lib/factory';
import { bytes } from '../../lib/text';
import { Button, Card, Field } from '../../ui/all';

/** guess is where a file of an ESP-IDF or Arduino build usually goes. */
function guess(name: string): string {
  if (/bootloader/i.test(name)) return '0x0';
  if (/partition/i.test(name)) return '0x8000';
  if (/boot_app0|ota_data/i.test(name)) return '0xe000';
  return '0x10000';
}

/** read takes files; flasher_args.json of an ESP-IDF build says where the others go. */
async function read(files: File[]): Promise<Firmware[]> {
  const args = files.find((f) => f.name === 'flasher_args.json');
  const at: Record<string, string> = {};
  if (args) {
    const { flash_files } = JSON.parse(await args.text()) as { flash_files?: Record<string, string> };
    for (const [address, path] of Object.entries(flash_files ?? {})) at[path.split('/').pop()!] = address;
  }
  return Promise.all(files.filter((f) => f !== args).map(async (f) => ({ name: f.name, address: at[f.name] ?? guess(f.name), data: new Uint8Array(await f.arrayBuffer()) })));
}

/** RecipeCard says what becomes of every board. */
export function RecipeCard({ recipe: r, change }: { recipe: Recipe; change: (r: Recipe) => void }) {
  const set = (part: Partial<Recipe>) => change({ ...r, ...part });
  return (
    <Card title="What becomes of a board">
      <div class="recipe">
        <Field label="Thing" hint="{mac} is the chip's MAC address, {MAC} in capitals, {mac:} with colons.">{(a) => <input {...a} value={r.thing} spellcheck={false} autocomplete="off" onInput={(e) => set({ thing: e.currentTarget.value.trim() })} />}</Field>
        <Field label="Identity as" hint={r.format === 'spiffs' ? 'certificate.pem.crt, private.pem.key and aws-root-ca.pem.' : 'Namespace aws. What else is in the partition is erased.'}>
          {(a) => <select {...a} value={r.format} onChange={(e) => set({ format: e.currentTarget.value as Recipe['format'], partition: '' })}><option value="spiffs">files in SPIFFS</option><option value="nvs">strings in NVS</option></select>}
        </Field>
        <Field label="Partition" hint="Empty for the first that fits. Identify a board to choose from its table.">{(a) => <input {...a} value={r.partition} placeholder="first that fits" spellcheck={false} autocomplete="off" onInput={(e) => set({ partition: e.currentTarget.value.trim() })} />}</Field>
        <Field label="Speed" hint="Lower it for long cables.">{(a) => <select {...a} value={String(r.baud)} onChange={(e) => set({ baud: Number(e.currentTarget.value) })}>{[115200, 230400, 460800, 921600].map((b) => <option key={b} value={String(b)}>{b} baud</option>)}</select>}</Field>
      </div>
      <label class="check"><input type="checkbox" checked={r.replace} onChange={(e) => set({ replace: e.currentTarget.checked })} /> Replace identities: a board that has one gets a new one, and its old certificate is revoked</label>
      <Field label="Firmware files (optional)" hint="The .bin files of a build, and flasher_args.json of ESP-IDF for their addresses. A file is written only where the flash differs.">
        {(a) => <input {...a} type="file" multiple accept=".bin,.json" onChange={async (e) => set({ firmware: [...r.firmware, ...(await read([...(e.currentTarget.files ?? [])]))] })} />}
      </Field>
      {r.firmware.map((f, i) => (
        <div class="inline" key={i}>
          <div class="grow"><strong dir="auto">{f.name}</strong> <span class="muted">{bytes(f.data.length)}</span></div>
          <label class="inline">at <input class="address mono" aria-label={`Address of ${f.name}`} value={f.address} spellcheck={false} onInput={(e) => set({ firmware: r.firmware.map((x, n) => (n === i ? { ...x, address: e.currentTarget.value.trim() } : x)) })} /></label>
          <Button kind="quiet" icon="trash" aria-label={`Remove ${f.name}`} onClick={() => set({ firmware: r.firmware.filter((_, n) => n !== i) })} />
        </div>
      ))}
    </Card>
  );
}
