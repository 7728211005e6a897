;; region at 0x400000, CPL 3: 3 instructions in 1 blocks, 568 bytes of WebAssembly
;; …
;; 0x400000: mov ah, bl
        (local.set $63 (i64.extend8_s (local.get $rbx)))
        (local.set $rax
          (i64.or
            (i64.and (local.get $rax) (i64.const -65281))
            (i64.and (i64.shl (local.get $63) (i64.const 8)) (i64.const 65280))))
;; 0x400002: add al, ah
        (local.set $63 (i64.extend8_s (local.get $rax)))
        (local.set $64 (i64.extend8_s (i64.shr_u (local.get $rax) (i64.const 8))))
        (local.set $65 (i64.extend8_s (i64.add (local.get $63) (local.get $64))))
        (local.set $rax
          (i64.or (i64.and (local.get $rax) (i64.const -256)) (i64.and (local.get $65) (i64.const 255))))
        (local.set $66 (local.get $63))
        (local.set $67 (local.get $64))
        (local.set $68 (local.get $65))
        (local.set $CcResult (local.get $68))
        (local.set $CcA (local.get $68))
        (local.set $CcB (local.get $66))
        (local.set $CcOverflow (local.get $67))
;; 0x400004: movzx esi, ah
        (local.set $68 (i64.and (i64.shr_u (local.get $rax) (i64.const 8)) (i64.const 255)))
        (local.set $rsi (i64.extend_i32_u (i32.wrap_i64 (local.get $68))))
        (local.set $left (i32.sub (local.get $left) (i32.const 3)))
        (local.set $operation (i32.const 3))
        (local.set $target (i64.add (local.get $page) (i64.const 7)))
        (br $3)
      end
;; …
