;; region at 0x400000, CPL 3: 6 instructions in 4 blocks, 646 bytes of WebAssembly
;; …
;; 0x400000: cmp eax, ebx
          (local.set $63 (i64.extend_i32_s (i32.wrap_i64 (local.get $rax))))
          (local.set $64 (i64.extend_i32_s (i32.wrap_i64 (local.get $rbx))))
          (local.set $65
            (i64.extend_i32_s (i32.sub (i32.wrap_i64 (local.get $63)) (i32.wrap_i64 (local.get $64)))))
          (local.set $66 (local.get $63))
          (local.set $67 (local.get $64))
          (local.set $68 (local.get $65))
          (local.set $CcResult (local.get $68))
          (local.set $CcA (local.get $66))
          (local.set $CcB (local.get $67))
;; 0x400002: jl 0x40001c
          (i32.lt_s (i32.wrap_i64 (local.get $CcA)) (i32.wrap_i64 (local.get $CcB)))
          if
            (local.set $left (i32.sub (local.get $left) (i32.const 2)))
            (local.set $operation (i32.const 2))
            (br $4)
          end
          (local.set $left (i32.sub (local.get $left) (i32.const 2)))
;; 0x400008: cmp rdx, 0x64
          (local.set $68 (local.get $rdx))
          (local.set $67 (i64.const 100))
          (local.set $66 (i64.sub (local.get $68) (local.get $67)))
          (local.set $65 (local.get $68))
          (local.set $64 (local.get $67))
          (local.set $63 (local.get $66))
          (local.set $CcResult (local.get $63))
          (local.set $CcA (local.get $65))
          (local.set $CcB (local.get $64))
;; 0x40000f: jae 0x40001c
          (i32.eqz (i64.lt_u (local.get $CcA) (local.get $CcB)))
          if
            (local.set $left (i32.sub (local.get $left) (i32.const 2)))
            (local.set $operation (i32.const 2))
            (br $4)
          end
          (local.set $left (i32.sub (local.get $left) (i32.const 2)))
;; 0x400015: mov ecx, 0x1
          (local.set $63 (i64.const 1))
          (local.set $rcx (i64.extend_i32_u (i32.wrap_i64 (local.get $63))))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (local.set $operation (i32.const 2))
          (local.set $target (i64.add (local.get $page) (i64.const 27)))
          (br $3)
        end
;; 0x40001c: mov ecx, 0x2
        (local.set $63 (i64.const 2))
        (local.set $rcx (i64.extend_i32_u (i32.wrap_i64 (local.get $63))))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (local.set $target (i64.add (local.get $page) (i64.const 34)))
        (br $3)
      end
;; …
