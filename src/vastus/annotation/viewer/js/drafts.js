// What has not been saved yet, kept in this browser until it is: strokes survive a reload, a crash, an empty battery.

const NAME = "vastus-drafts";
const STORE = "drafts";

function opened() {
  return new Promise((resolve, reject) => {
    const asked = indexedDB.open(NAME, 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore(STORE);
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}

async function within(mode, work) {
  const base = await opened();
  try {
    return await new Promise((resolve, reject) => {
      const change = base.transaction(STORE, mode);
      const asked = work(change.objectStore(STORE));
      change.oncomplete = () => resolve(asked.result);
      change.onerror = change.onabort = () => reject(change.error);
    });
  } finally {
    base.close();
  }
}

let last = Promise.resolve();

/** One after another, in the order asked: a draft that is being written must not outlive the save that drops it. */
function inTurn(work) {
  last = last.then(work, work);
  return last;
}

/** Keys are `user/case`. A browser that keeps nothing (a private window) must not stop anybody from drawing. */
const calm = (promise) => promise.catch((error) => { console.warn(error); return undefined; });

export const Drafts = {
  put: (key, draft) => calm(inTurn(() => within("readwrite", (store) => store.put(draft, key)))),
  get: (key) => calm(inTurn(() => within("readonly", (store) => store.get(key)))),
  drop: (key) => calm(inTurn(() => within("readwrite", (store) => store.delete(key)))),
};
