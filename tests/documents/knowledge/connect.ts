const { isConnected, sendMessage, subscribe } = useWebSocket(
  userId, 
  token,
  {
    onMessage: (message) => console.log('收到消息:', message),
    onConnect: () => console.log('WebSocket已连接'),
    onDisconnect: () => console.log('WebSocket已断开')
  }
);

// 订阅通知
subscribe('notifications');

// 发送消息
sendMessage({ type: 'ping' });
