// One protocol, {id, method, params} → {id, result | error}, over HTTP and over the messages of a notebook.

export interface Transport {
  request<T>(method: string, params?: object): Promise<T>;
}

interface Response {
  id?: unknown;
  result?: unknown;
  error?: string;
}

let lastId = 0;

export class HttpTransport implements Transport {
  constructor(private readonly token: string) {}

  async request<T>(method: string, params: object = {}): Promise<T> {
    const headers = { "Content-Type": "application/json", "X-Token": this.token };
    const body = JSON.stringify({ id: ++lastId, method, params });
    let response: Response;
    try {
      response = (await (await fetch("api", { method: "POST", headers, body })).json()) as Response;
    } catch {
      throw new Error("The server of the viewer does not respond. Run `helmframe view` again and open its address.");
    }
    if (response.error !== undefined) throw new Error(response.error);
    return response.result as T;
  }
}

export interface WidgetModel {
  on(event: "msg:custom", callback: (message: Response) => void): void;
  off(event: "msg:custom", callback: (message: Response) => void): void;
  send(message: object): void;
}

export class WidgetTransport implements Transport {
  private readonly waiting = new Map<unknown, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  private readonly receive = (message: Response): void => {
    const waiting = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    if (waiting === undefined) return; // of another view of the same widget
    if (message.error !== undefined) waiting.reject(new Error(message.error));
    else waiting.resolve(message.result);
  };

  constructor(private readonly model: WidgetModel) {
    model.on("msg:custom", this.receive);
  }

  request<T>(method: string, params: object = {}): Promise<T> {
    const id = `${Date.now()}-${++lastId}`;
    return new Promise<T>((resolve, reject) => {
      this.waiting.set(id, { resolve: (value) => resolve(value as T), reject });
      this.model.send({ id, method, params });
    });
  }

  close(): void {
    this.model.off("msg:custom", this.receive);
  }
}
