// Keys that work everywhere but in text: / ? and g with a page's key.
import type { Signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { go } from './lib/router';
import { pages } from './pages/table';

const chordTime = 1500; // milliseconds between g and the next key

export function useShortcuts(help: Signal<boolean>): void {
  useEffect(() => {
    let armed = 0;
    const onKey = (e: KeyboardEvent) => {
      if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented || document.querySelector('dialog[open]')) return;
      const t = e.target as HTMLElement;
      if (t.closest('input, textarea, select, [contenteditable]')) return;
      const page = Date.now() - armed < chordTime ? pages.find((p) => p.key === e.key) : undefined;
      armed = 0;
      if (page) go([page.name]);
      else if (e.key === 'g') armed = Date.now();
      else if (e.key === '?') help.value = true;
      else if (e.key === '/') {
        const search = document.querySelector<HTMLElement>('[data-search]');
        if (!search) return;
        search.focus();
      } else return;
      e.preventDefault();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
}
