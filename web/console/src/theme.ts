// Light or dark: as the system says, unless somebody has chosen.
import { signal } from '@preact/signals';

export type Theme = 'auto' | 'light' | 'dark';

function stored(): Theme {
  try {
    const t = localStorage.getItem('berth-theme');
    return t === 'light' || t === 'dark' ? t : 'auto';
  } catch {
    return 'auto';
  }
}

export const theme = signal<Theme>(stored());

export function applyTheme(): void {
  if (theme.value === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
}

export function nextTheme(): void {
  theme.value = theme.value === 'auto' ? 'light' : theme.value === 'light' ? 'dark' : 'auto';
  try {
    localStorage.setItem('berth-theme', theme.value);
  } catch {
    // only this page then
  }
  applyTheme();
}
