import { useEffect } from 'preact/hooks';

/** useAgain reloads every so many milliseconds while the page is seen. */
export function useAgain(reload: () => void, ms = 5000): void {
  useEffect(() => {
    const t = setInterval(() => document.hidden || reload(), ms);
    return () => clearInterval(t);
  }, [ms]);
}
